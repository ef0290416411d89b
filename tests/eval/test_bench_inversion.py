"""bench inversion: known figures, its columns, cost and file, and bad input."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from mdp_lite.__main__ import main
from mdp_lite.editor import Editor
from mdp_lite.eval import inversion_command, inversions, resources, score
from mdp_lite.eval.cases import KINDS
from mdp_lite.eval.interval import difference_interval, mean_interval
from mdp_lite.eval.inversion_tables import InversionFigures, format_tables, summarize
from mdp_lite.eval.inversions import (
    InversionSetup,
    build_setups,
    cost_of_one,
    invert_cases,
    make_mixed_cases,
    score_reconstruction,
)
from mdp_lite.eval.reader import Reader
from mdp_lite.eval.scene import is_held_back
from mdp_lite.method.schedule import paper_window
from mdp_lite.pictures import images
from mdp_lite.pipeline.inversion_methods import Inversion

Says = Callable[[str], None]
Runs = Callable[..., dict]
NAN = float("nan")
METHODS = (
    "replay", "ddim", "fixed-point", "negative-prompt", "negative-prompt-proximal", "null-text",
    "null-text-planned", "direct", "edit-friendly",
)  # fmt: skip
COLUMNS = (
    "forward rows", "backward rows", "as forward rows", "seconds", "peak memory", "picture, g = 1",
    "picture, g = 7.5", "vae, own", "latent, g = 1", "anew, own", "right", "kept", "both",
    "both - replay's", "dB inside", "dB outside",
)  # fmt: skip

# --- means -------------------------------------------------------------------------------------


def test_an_interval_is_that_of_the_binomial() -> None:
    mean, low, high = mean_interval([0.0, 1.0] * 50)
    assert mean == 0.5  # of 100 draws at 1/2, 95% are within 40 and 60
    assert low == pytest.approx(0.40, abs=0.011) and high == pytest.approx(0.60, abs=0.011)
    assert mean_interval([0.0, 1.0] * 50) == (mean, low, high)


def test_equal_values_have_no_spread_and_unknown_ones_do_not_count() -> None:
    assert mean_interval([0.1] * 7) == (0.1, 0.1, 0.1)
    assert mean_interval([2.0, NAN, 2.0]) == (2, 2, 2)
    assert str(mean_interval([NAN]).mean) == "nan"


def test_pairs_are_compared_as_pairs() -> None:
    values = [float(v) for v in range(20)]
    assert difference_interval([v + 0.5 for v in values], values) == (0.5, 0.5, 0.5)


# --- figures -----------------------------------------------------------------------------------


def test_no_picture_comes_twice_and_the_kinds_take_turns() -> None:
    cases = make_mixed_cases(14)
    assert [case.kind for case in cases] == [*KINDS, *KINDS, *KINDS[:2]]
    assert len({case.seed for case in cases}) == len({case.source_scene for case in cases}) == 14
    assert all(
        is_held_back(case.source_scene) and is_held_back(case.target_scene) for case in cases
    )
    assert make_mixed_cases(5) == cases[:5]


def test_null_text_planned_tunes_the_steps_that_an_epsilon_edit_calls() -> None:
    found = build_setups(
        Editor.from_pretrained("tiny", device="cpu"), 50
    )  # the window is 47/26 of 50
    assert tuple(found) == METHODS
    assert found["null-text-planned"].inversion.tuned_steps == (0, 1, 2, *range(29, 50))


def test_a_replayed_source_reconstructs_its_picture_exactly(editor: Editor) -> None:
    cases, setup = make_mixed_cases(2), InversionSetup(Inversion("replay"))
    sources = invert_cases(editor, setup, cases, 4, 1.0)
    found = score_reconstruction(editor, sources)
    for source, psnr in zip(sources, found["picture"], strict=True):
        assert source.original
        assert psnr == pytest.approx(images.psnr(source.image, source.original), abs=1e-3)
    assert min(found["vae"]) > 106 and found["latent"] == [0, 0]
    assert found["forward"] == found["anew_rows"] == [4, 4] and found["backward"] == [0, 0]
    under = score.build_guidance(editor, (case.source for case in cases), 1.0)
    x = torch.cat([source.path.x[0] for source in sources])
    last = score.sample_path(editor, sources[0].grid, x, under).x[-1]
    want = (last - torch.cat([s.path.x[-1] for s in sources])).abs().amax((1, 2, 3))
    assert found["anew"] == pytest.approx(want.tolist(), rel=1e-4)
    assert min(found["anew"]) > 1e-4


def test_errors_are_those_of_the_path(editor: Editor) -> None:
    (source,) = invert_cases(
        editor, InversionSetup(Inversion("replay")), make_mixed_cases(1), 3, 1.0
    )
    x = source.path.x.clone()
    x[-1, 0, 2, 5, 5] += 0.25
    moved = replace(source, path=source.path._replace(x=x))
    assert score_reconstruction(editor, [moved])["latent"] == pytest.approx([0.25])
    (again,) = invert_cases(editor, InversionSetup(Inversion("ddim")), make_mixed_cases(1), 3, 3.0)
    found = score_reconstruction(editor, [again])
    assert found["anew"] == found["latent"] and found["anew_rows"] == [0]  # it is the model's own
    assert found["forward"] == [3 + 2 * 3]


@pytest.mark.parametrize("tuned", [None, (0, 2)])
def test_the_cost_of_one_picture_does_not_depend_on_others(
    editor: Editor, tuned: tuple[int, ...] | None
) -> None:
    how = Inversion("null-text", inner_steps=3, early_stop=0.1, tuned_steps=tuned)
    cases = make_mixed_cases(3)
    together = invert_cases(editor, InversionSetup(how), cases, 5, 3.0)
    single = [invert_cases(editor, InversionSetup(how), [c], 5, 3.0)[0].cost for c in cases]
    assert [cost_of_one(source) for source in together] == single
    assert len({cost.unet_rows for cost in single}) > 1  # else this shows nothing


def test_an_edit_is_scored_against_its_true_answer(editor: Editor) -> None:
    cases = make_mixed_cases(4)
    sources = invert_cases(editor, InversionSetup(Inversion("negative-prompt")), cases, 6, 3.0)
    found = {
        q: inversions.score_edits(
            editor, Reader(), InversionSetup(Inversion(), q), cases, sources, "epsilon"
        )
        for q in (None, 0.7)
    }
    how = ("epsilon", *paper_window(6))
    plain = [editor.edit(s, case.target, *how) for s, case in zip(sources, cases, strict=True)]
    answers = score.render(case.target_scene for case in cases)
    pictures = inversions.stack_pictures([one.image for one in plain])
    want = score.measure_distances(pictures, answers, score.field_regions(cases))
    assert found[None]["whole"] == pytest.approx(want["whole"], abs=0.05)
    assert found[None]["rows"] == [one.cost.unet_rows for one in plain]
    assert found[0.7]["whole"] != found[None]["whole"]
    assert str(found[None]["outside"][3]) == "nan"  # of the time of day: nothing is outside


# --- resources ---------------------------------------------------------------------------------


def test_peak_memory_counts_memory_that_is_freed_again() -> None:
    def run() -> None:
        torch.ones(16 * 2**20)  # 64 MiB

    found = resources.measure_resources(run, torch.device("cpu"))
    if found.peak_bytes is None:
        pytest.skip("this system does not report memory")
    assert 0.9 * 2**26 < found.peak_bytes < 1.3 * 2**26
    assert found.seconds > 0


class TwoProducts(nn.Module):
    """Two matrix products of one size; only one of them reads the condition."""

    def __init__(self, editor: Editor) -> None:
        super().__init__()
        self.config = editor.models.unet.config
        self.layer = nn.Linear(16, 16, bias=False).requires_grad_(False)

    def forward(self, x: torch.Tensor, t: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        return self.layer(c) + self.layer(torch.zeros_like(c))


def test_a_backward_row_counts_only_what_depends_on_the_condition(editor: Editor) -> None:
    assert resources.backward_share(TwoProducts(editor), 4, 4, 6) == 0.5  # type: ignore[arg-type]
    assert 0 < resources.backward_share(editor.models.unet, 16, 16, 20) < 1.5


# --- tables ------------------------------------------------------------------------------------


def test_a_summary_counts_backward_rows_and_compares_with_replay() -> None:
    def make(forward: float, backward: float, both: list[float]) -> InversionFigures:
        guided = {"forward": [forward] * 2, "backward": [backward] * 2}
        figures = {"guidance 1": guided, "epsilon": {"both": both}}
        return InversionFigures(figures, "guidance 1", resources.ResourceUse(1.5, None))

    found = summarize({"replay": make(5, 0, [0, 1]), "b": make(8, 4, [1, 1])}, 0.5)
    assert found["b"]["guidance 1"]["equivalents"] == {"mean": 10, "low": 10, "high": 10}
    assert found["b"]["epsilon"]["apart"]["mean"] == 0.5
    assert found["b"]["seconds"] == 1.5 and found["b"]["peak_bytes"] is None


# --- the command -------------------------------------------------------------------------------


@pytest.fixture
def run(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Runs:  # fmt: skip
    """A function that runs the command on the tiny model and returns its JSON."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(inversion_command, "ROUNDS", 1)

    def go(*words: str, steps: str = "2", pictures: str = "2") -> dict:
        some = ("--steps", steps, "--pictures", pictures, "--model", str(checkpoint))
        done = main(["bench", "inversion", "--json", "--device", "cpu", *some, *words])
        captured = capsys.readouterr()
        assert done == 0, captured.err
        return json.loads(captured.out)

    return go


def drop_times(data: dict) -> dict:
    """All but seconds and memory, which differ from run to run."""
    rest = {k: v for k, v in data.items() if k not in ("methods", "files")}
    drop = ("seconds", "peak_bytes")
    methods = data["methods"].items()
    return rest | {n: {k: v for k, v in one.items() if k not in drop} for n, one in methods}


def test_figures_are_equal_in_a_second_run_and_from_a_file(run: Runs) -> None:
    some = "negative-prompt-proximal,replay"
    first = run("-o", "figures.json", "--methods", "replay")
    assert list(first["methods"]) == ["replay"] and first["files"] == ["figures.json"]
    more = run("-o", "figures.json", "--methods", some)
    assert drop_times(more) == drop_times(run("--methods", some))
    dry = run("-o", "figures.json", "--dry-run", "--methods", some)
    assert dry["at_most"] == {}  # nothing is left to do


@pytest.mark.slow
def test_a_dry_run_reports_the_cost_and_writes_nothing(run: Runs) -> None:
    dry, wet = run("--dry-run", "-o", "figures.json", pictures="1"), run(pictures="1")
    assert not Path("figures.json").exists()
    for name in METHODS:
        most, spent = dry["at_most"][name], wet["spent"][name]
        if name.startswith("null-text"):
            assert most["backward_rows"] >= spent["backward_rows"] > 0
            assert most["unet_rows"] >= spent["unet_rows"]
        else:
            assert most == spent, name
    assert tuple(wet["methods"]) == METHODS
    text = "\n".join(format_tables(wet))
    for column in COLUMNS:
        assert f" {column} " in text
    assert all(text.count(f"| {name} ") == 5 for name in METHODS)
    assert all(one["seconds"] > 0 for one in wet["methods"].values())


def test_progress_is_on_stderr_and_can_be_left_out(
    run: Runs, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["bench", "inversion", "--pictures", "1", "--steps", "2", "--methods", "replay"]
    command = [*words, "--model", str(checkpoint), "--device", "cpu"]
    assert main(command) == 0
    captured = capsys.readouterr()
    assert "mdp-lite: replay: " in captured.err and "| replay " in captured.out
    assert main([*command, "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")


BAD = {
    "pictures": (["--pictures", "0"], "pictures must be 1 or more, got 0"),
    "method": (["--methods", "replay,magic"], "methods must be of replay, ddim, "),
    "what": (["editing"], "WHAT must be one of inversion, edits, pie, speed, got 'editing'"),
    "ending": (["-o", "figures.txt"], "must end in .json, got 'figures.txt'"),
    "steps": (["--steps", "101"], "null-text must have at most 100 steps"),
    "others": (["--steps", "4", "-o", "figures.json"], "(steps 2 there, 4 here)"),
    "foreign": (["-o", "foreign.json"], "foreign.json has none"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_words_are_one_line(
    run: Runs, checkpoint: Path, says_one_line: Says, name: str
) -> None:
    if name == "others":
        run("-o", "figures.json", "--methods", "replay", pictures="1")
    Path("foreign.json").write_text("[1]")
    before = {path.name: path.read_bytes() for path in Path().iterdir()}
    words, sentence = BAD[name]
    what = [] if name == "what" else ["inversion", "--pictures", "1"]
    assert main(["bench", *what, "--model", str(checkpoint), "--device", "cpu", *words]) == 2
    says_one_line(sentence)
    assert {path.name: path.read_bytes() for path in Path().iterdir()} == before
