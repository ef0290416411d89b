"""Completion in shells: words, lines about them, and file names that shells complete themselves."""

import re

import pytest

from mdp_lite.cli.application import COMMANDS, read_command_line
from mdp_lite.names import VARIANTS, BadInput
from support.commands import HEAVY, run_python

COMPLETED = {
    "mdp-lite ": set(COMMANDS),
    "mdp-lite ge": {"generate"},
    "mdp-lite edit --pro": {"--prompt-2", "--prompt", "--proximal"},
    "mdp-lite edit --variant ": {*VARIANTS, "all"},
    "mdp-lite edit a.png --engine a": {"auto", "aot"},
    "mdp-lite sweep --variants c,": {"c,epsilon", "c,x", "c,beta"},
    "mdp-lite bench ": {"inversion", "edits", "pie", "speed"},
    "mdp-lite --ver": {"--version"},
}


@pytest.mark.covering(1)
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
@pytest.mark.parametrize("line", COMPLETED)
def test_a_shell_gets_commands_options_and_choices(shell: str, line: str) -> None:
    words = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1)}
    others = {"_TYPER_COMPLETE_ARGS": line, "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    out = run_python(
        "import sys\nfrom mdp_lite.__main__ import main\n"
        "try: main([])\nexcept SystemExit: pass\n"
        f"assert not {HEAVY!r} & set(sys.modules), {HEAVY!r} & set(sys.modules)\n",
        _MDP_LITE_COMPLETE=f"complete_{shell}",
        **words,
        **others,
    )
    parts = re.findall(r'"([^"]+)"(?::"([^"]*)")?', out)
    items = dict(
        parts if shell == "zsh" else [(s + "\t").split("\t")[:2] for s in out.splitlines()]
    )
    assert set(items) == COMPLETED[line]
    if line == "mdp-lite ge":
        assert items["generate"] == ("" if shell == "bash" else COMMANDS["generate"])
    if line == "mdp-lite edit --pro":
        assert items["--prompt"] == ("" if shell == "bash" else "what the edit shows")


@pytest.mark.parametrize(("shell", "want"), [("bash", ""), ("zsh", "_files"), ("fish", "")])
def test_a_shell_completes_the_names_of_files_itself(shell: str, want: str) -> None:
    line = "mdp-lite edit ho"
    out = run_python(
        "import sys\nfrom mdp_lite.__main__ import main\ntry: main([])\nexcept SystemExit: pass\n",
        _MDP_LITE_COMPLETE=f"complete_{shell}",
        COMP_WORDS=line,
        COMP_CWORD="2",
        _TYPER_COMPLETE_ARGS=line,
        _TYPER_COMPLETE_FISH_ACTION="get-args",
    )
    assert out.strip() == want


def test_a_shell_named_to_show_completion_is_not_ignored() -> None:
    with pytest.raises(BadInput, match="for the shell that it is called in, got 'zsh' too"):
        read_command_line(["--show-completion", "zsh"])


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_completion_script_calls_the_command(shell: str) -> None:
    out = run_python(
        "from mdp_lite.__main__ import main\ntry: main([])\nexcept SystemExit: pass\n",
        _MDP_LITE_COMPLETE=f"source_{shell}",
    )
    assert "_MDP_LITE_COMPLETE=complete_" in out and "mdp-lite" in out
