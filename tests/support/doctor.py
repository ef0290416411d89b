"""A loaded model for the doctor's checks, and outcomes by name."""

from typing import Any

from mdp_lite.cli.application import read_command_line
from mdp_lite.cli.commands.doctor import DoctorOptions
from mdp_lite.cli.console import Console, collect_messages
from mdp_lite.editor import Editor
from mdp_lite.eval.doctor.model import LoadedModel
from mdp_lite.eval.resources import reset_peak


def read_options(*words: str) -> DoctorOptions:
    """The options of a command line that begins with doctor."""
    options = read_command_line(["doctor", *words])
    assert isinstance(options, DoctorOptions)
    return options


def make_loaded(editor: Editor) -> LoadedModel:
    """The same models in an editor of their own, which a test may spoil."""
    found = reset_peak(editor.device)
    return LoadedModel(Editor(editor.models, editor.device, engine="eager"), 0.5, found)


def by_name(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The checks of a report's object."""
    return {one["name"]: one for one in report["checks"]}


def quiet_console() -> Console:
    """A console that shows nothing."""
    return collect_messages([])
