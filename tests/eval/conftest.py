"""Fixtures that tests of eval share."""

import pytest

from mdp_lite.editor import Editor
from support.inverting import double


@pytest.fixture(scope="module")
def wide(editor: Editor) -> Editor:
    """The random model in float64: differences are not due to rounding."""
    return double(editor)
