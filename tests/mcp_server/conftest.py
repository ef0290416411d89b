"""One server for each way of connecting, for all tests here."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mdp_lite.editor import Editor
from mdp_lite.mcp_server.http import mount_tools
from support.places import ENVIRONMENT
from support.serving import RunningService, run_service

pytest.importorskip("mcp")

from mcp import StdioServerParameters  # noqa: E402

from support.mcp_clients import ToolClient, open_tools  # noqa: E402


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the operator has named."""
    return tmp_path_factory.mktemp("pictures")


@pytest.fixture(scope="session")
def stdio(checkpoint: Path, pictures: Path) -> Iterator[ToolClient]:
    """A client whose server is a process of its own, over stdin and stdout."""
    command = ["-m", "mdp_lite", "mcp", "--model", str(checkpoint), "--folder", str(pictures)]
    server = StdioServerParameters(
        command=sys.executable, args=[*command, "--quiet", "--device", "cpu"],
        env=ENVIRONMENT | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    with open_tools(server) as client:
        yield client


@pytest.fixture(scope="session")
def at(editor: Editor) -> Iterator[RunningService]:
    """A service with the tools, over the same model; it names no folder."""
    with run_service(editor, tools=mount_tools(())) as one:
        yield one
