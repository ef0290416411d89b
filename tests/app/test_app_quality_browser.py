"""The choice of quality in a browser: one click, fewer steps, and a comparison with the best."""

from pathlib import Path

import pytest

from mdp_lite.pictures import images
from support.browsing import FIRST, OpenPage, ServedPage, chromium, open_page, served

__all__ = ["chromium", "open_page", "served"]  # fixtures
pytestmark = pytest.mark.browser


def test_a_draft_and_back(open_page: OpenPage, served: ServedPage, tmp_path: Path) -> None:
    one = open_page()
    one.upload(FIRST.file)
    one.open_fold("Settings")
    draft, best = (one.page.get_by_label(text) for text in ("draft: 8 steps", "best: 50 steps"))
    assert best.is_checked()
    draft.check()
    one.fill("source-prompt", FIRST.source_prompt)
    one.fill("prompt", FIRST.prompt)
    one.page.locator("#forecast", has_text="28 UNet rows").wait_for()
    status = one.run()
    assert "A draft: 28 UNet rows, source included, about" in status
    assert "The best, of 50 steps: 170 rows" in status
    assert sum(served.rows) == 28
    path = one.download(tmp_path)
    assert images.read_settings(path)["num_inference_steps"] == 8
    best.check()
    one.page.locator("#forecast", has_text="170 UNet rows").wait_for()
    assert one.page.locator("#steps input").input_value() == "50"
    one.fill("steps", "20")
    one.page.locator("#quality label.selected", has_text="standard").wait_for()
    one.fill("steps", "21")
    one.page.locator("#quality label.selected").wait_for(state="detached")
    one.check_clean()
