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
    box = one.page.get_by_label("Fast: 8 steps instead of 50").first
    box.check()
    one.fill("picture-source-prompt", HOUSE.source_prompt)
    one.fill("picture-prompt", HOUSE.prompt)
    one.page.locator("#picture-plan", has_text="The inversion comes first: 16 UNet rows").wait_for()
    one.click("picture-edit")
    status = one.wait_for_status("The default of 50 steps: 170 rows")
    assert "Fast: 28 UNet rows, source included, about" in status
    assert sum(served.rows) == 28
    path = one.download(tmp_path)
    assert images.read_settings(path)["num_inference_steps"] == 8
    box.uncheck()
    one.page.locator("#picture-plan", has_text="comes first: 100 UNet rows").wait_for()
    assert not box.is_checked()
    one.check_clean()
