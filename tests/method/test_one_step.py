"""One step: everything that predicts noise goes through the two halves that mdp.py spells out.

A function of mdp.py is made to raise in every module that imported it. A caller that still gave a
result would have another step.
"""

import ast
import shutil
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NoReturn

import pytest
import torch

from mdp_lite.editor import Editor
from mdp_lite.engine import engine, step_graphs
from mdp_lite.method import execute, mdp, null_text, sample
from mdp_lite.models.unet import UNet
from mdp_lite.names import VARIANTS
from mdp_lite.pipeline.inversion_methods import METHODS, Inversion
from mdp_lite.pipeline.once import once
from mdp_lite.pipeline.request import Request
from mdp_lite.pipeline.result import Source
from support.inverting import picture
from support.places import ROOT
from support.recording import recording_editor
from support.small_unet import SMALL

HALVES = ("step_inputs", "step_output")
PROMPT, TARGET, N = "a red house", "a blue boat", 4
PICTURE = picture()
Use = Callable[[Editor, Source], object]
Break = Callable[..., None]
COMPILERS = ("c++", "g++", "clang++")
COMPILED = pytest.param("step_output", marks=pytest.mark.slow)  # the UNet is compiled before it


class Broken(Exception):
    """Raised by a function that a test broke; nothing in mdp_lite expects it."""


@pytest.fixture
def break_function(monkeypatch: pytest.MonkeyPatch) -> Break:
    """Makes a function of mdp.py raise: in every module that has it, or in one of them."""

    def broken(*_: object, **__: object) -> NoReturn:
        raise Broken

    def apply(name: str, only: object = None) -> None:
        function = getattr(mdp, name)
        package = [one for key, one in list(sys.modules.items()) if key.startswith("mdp_lite")]
        found = [one for one in package if vars(one).get(name) is function]
        assert mdp in found and (only is None or only in found)
        for module in found if only is None else [only]:
            monkeypatch.setattr(module, name, broken)

    return apply


@pytest.fixture(scope="module")
def source(editor: Editor) -> Source:
    return editor.generate(PROMPT, 1, N)


def edit(variant: str) -> Use:
    """An edit with UNet calls before, inside and after the window, whatever the variant."""
    return lambda one, source: one.edit(source, TARGET, variant, t_max=3, t_m=1.5)


def inversion(method: str) -> Use:
    how = Inversion(method, inner_steps=1 if method == "null-text" else None)
    return lambda one, source: one.invert(PICTURE, PROMPT, how, N, 2.0)


USERS: dict[str, Use] = {
    "generate": lambda one, source: one.generate(PROMPT, 2, N),
    "the default inversion": lambda one, source: one.invert(PICTURE, PROMPT),
    **{method: inversion(method) for method in METHODS},
    **{f"edit, {variant}": edit(variant) for variant in VARIANTS},
    "edit without guidance": lambda one, source: one.edit(source, TARGET, guidance_scale=1.0),
    "steps": lambda one, source: list(one.steps([Request(source, TARGET)])),
    "a batch": lambda one, source: one.edits([Request(source, TARGET, "c")] * 2, max_rows=8),
    "a sweep": lambda one, source: one.sweep(source, [TARGET, "a boat"], VARIANTS),
    "once": lambda one, source: once(one, PROMPT, TARGET, num_inference_steps=N),
}


def check_fails(use: Use, editor: Editor, source: Source) -> list[str]:
    """Assert that the broken function is reached; returns the functions on the way to it."""
    with pytest.raises(Broken) as error:
        use(editor, source)
    return [frame.name for frame in traceback.extract_tb(error.value.__traceback__)]


@pytest.mark.covering(1)
@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("user", USERS)
def test_without_a_half_nothing_computes_a_step(
    editor: Editor, source: Source, break_function: Break, user: str, half: str
) -> None:
    USERS[user](editor, source)  # with both halves it works
    break_function(half)
    check_fails(USERS[user], editor, source)


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_recorded_step_has_the_same_halves(
    editor: Editor, source: Source, break_function: Break, variant: str, half: str
) -> None:
    own = recording_editor(editor)
    edit(variant)(own, source)
    recorder = own.runner.engine.recorder
    assert recorder and recorder.count  # its steps were recorded
    break_function(half, only=step_graphs if half == "step_inputs" else engine)
    assert "work" in check_fails(edit(variant), own, source)  # what a graph replays
    assert "work" in check_fails(edit(variant), recording_editor(editor), source)  # what it records


@pytest.fixture(scope="module")
def compiled(editor: Editor) -> Iterator[Editor]:
    if not any(map(shutil.which, COMPILERS)):
        pytest.skip("no C++ compiler")
    torch.manual_seed(0)
    torch._dynamo.reset()
    models = replace(editor.models, unet=UNet(SMALL).eval())
    yield Editor(models, editor.device, engine="compile")
    torch._dynamo.reset()


# torch's own modules still make TorchScript when Inductor imports them.
@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
@pytest.mark.parametrize("half", ["step_inputs", COMPILED])
def test_a_compiled_unet_is_called_between_the_same_halves(
    compiled: Editor, source: Source, break_function: Break, half: str
) -> None:
    break_function(half)
    check_fails(edit("c"), compiled, source)


@pytest.mark.parametrize(
    ("module", "half", "user"),
    [
        *((sample, half, user) for half in HALVES for user in ("generate", *METHODS, "once")),
        *((execute, half, f"edit, {variant}") for half in HALVES for variant in VARIANTS),
        *((execute, half, user) for half in HALVES for user in ("steps", "a sweep", "once")),
        (null_text, "step_output", "null-text"),
    ],
)
def test_each_loop_calls_the_halves_itself(
    editor: Editor, source: Source, break_function: Break, module: object, half: str, user: str
) -> None:
    """Broken in one module alone, they fail in the loops of that module."""
    break_function(half, only=module)
    check_fails(USERS[user], editor, source)


@pytest.mark.parametrize("name", ["model_inputs", "guide", "update"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_without_an_equation_no_variant_is_an_edit(
    editor: Editor, source: Source, break_function: Break, variant: str, name: str
) -> None:
    break_function(name)
    check_fails(edit(variant), editor, source)


def test_without_proximal_there_is_no_proximal_guidance(
    editor: Editor, source: Source, break_function: Break
) -> None:
    break_function("proximal")
    edit("c")(editor, source)
    check_fails(lambda one, source: one.edit(source, TARGET, proximal=0.7), editor, source)


def is_mixture(node: ast.AST) -> bool:
    """Whether an expression is a call of lerp or a product."""
    if isinstance(node, ast.Call):
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))  # x.lerp, lerp
        return name in ("lerp", "lerp_")
    return isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult)


def mentions_c(node: ast.AST) -> bool:
    """Whether an expression reads a condition, the field c of something."""
    return any(isinstance(one, ast.Attribute) and one.attr == "c" for one in ast.walk(node))


def test_mdp_c_is_written_once() -> None:
    """The package has one mixture of conditions, by lerp or by a product with a weight."""
    found = []
    for path in sorted((ROOT / "mdp_lite").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if is_mixture(node) and mentions_c(node):
                found.append((path.relative_to(ROOT).as_posix(), ast.unparse(node)))
    (only,) = found
    assert only[0] == "mdp_lite/method/mdp.py"
    assert only[1].startswith("lerp(guidance.c, source.c")
