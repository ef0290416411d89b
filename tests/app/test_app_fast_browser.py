"""The box Fast in a browser: one click, fewer steps, and the comparison beside the result."""

from pathlib import Path

import pytest

from mdp_lite.pictures import images
from support.browsing import HOUSE, OpenPage, ServedPage, chromium, open_page, served

__all__ = ["chromium", "open_page", "served"]  # fixtures
pytestmark = pytest.mark.browser


def test_a_fast_edit_and_back(open_page: OpenPage, served: ServedPage, tmp_path: Path) -> None:
    one = open_page()
    one.upload(HOUSE.file)
    one.open_fold("Settings")
    box = one.page.get_by_label("Fast: 8 steps instead of 50").first
    box.check()
    one.fill("source-prompt", HOUSE.source_prompt)
    one.fill("prompt", HOUSE.prompt)
    one.page.locator("#forecast", has_text="28 UNet rows").wait_for()
    status = one.run()
    assert "Fast: 28 UNet rows, source included, about" in status
    assert "The default of 50 steps: 170 rows" in status
    assert sum(served.rows) == 28
    path = one.download(tmp_path)
    assert images.read_settings(path)["num_inference_steps"] == 8
    box.uncheck()
    one.page.locator("#forecast", has_text="170 UNet rows").wait_for()
    assert not box.is_checked()
    one.check_clean()
