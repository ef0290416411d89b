"""Options and fixtures of all suites: the model, the device, the recorder of results."""

import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from benchmarks.record import RESULTS, Recorder
from benchmarks.sides import Model, model_of


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("speed")
    group.addoption("--size", default="tiny", help="tiny (bundled), sd15 (random), or a folder")
    group.addoption("--models", type=Path, help="where sd15 is, or is to be written (2 GB)")
    group.addoption("--speed-json", type=Path, default=RESULTS / "speed.json")
    group.addoption("--rounds", type=int, help="default: 30, fewer where a call takes seconds")
    group.addoption("--steps", type=int, default=50, help="DDIM steps of an edit")
    group.addoption("--no-compile", action="store_true", help="leave compiled sides out")
    group.addoption("--device", default="cuda" if torch.cuda.is_available() else "cpu")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Warnings of the peers' compilers are no errors here."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.filterwarnings("default"))


@pytest.fixture(scope="session")
def device(request: pytest.FixtureRequest) -> torch.device:
    return torch.device(request.config.getoption("--device"))


@pytest.fixture(scope="session")
def model(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, device: torch.device
) -> Model:
    """The model under test; random weights of Stable Diffusion 1.5's size are written once."""
    where = request.config.getoption("--models") or tmp_path_factory.mktemp("models")
    return model_of(request.config.getoption("--size"), where, device)


@pytest.fixture(scope="session")
def recorder(request: pytest.FixtureRequest, device: torch.device) -> Recorder:
    words = [str(word) for word in request.config.invocation_params.args]
    command = shlex.join(["python", "-m", "pytest", *words])
    option = request.config.getoption
    return Recorder(option("--speed-json"), command, option("--rounds"), device)


@pytest.fixture
def compiling(request: pytest.FixtureRequest) -> bool:
    return not request.config.getoption("--no-compile")


@pytest.fixture
def steps(request: pytest.FixtureRequest) -> int:
    return request.config.getoption("--steps")


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield
