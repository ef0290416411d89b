"""A rehearsed GPU for the tests of the engine."""

from collections.abc import Iterator

import pytest
from torch import Tensor

from mdp_lite import Editor
from support.rehearsal import Rehearsal
from support.rehearsed_cases import TARGET, make
from support.rehearsing import rehearsal


@pytest.fixture
def gpu() -> Iterator[Rehearsal]:
    """One GPU; at the end nothing happened that a GPU refuses."""
    with rehearsal() as one:
        yield one
        assert not one.violations and not one.mismatches


@pytest.fixture(scope="session")
def want(editor: Editor) -> Tensor:
    """The CPU's edit."""
    return editor.edit(make(editor), TARGET).latent
