"""Everything that calls a VAE works with TAESD in its place: edits, batches, previews, commands."""

import base64
import json
from collections.abc import Callable
from dataclasses import fields, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from mdp_lite.__main__ import main
from mdp_lite.checkpoint.load import examine
from mdp_lite.cli.dry_run import dry_run_editor
from mdp_lite.cli.info import estimate_edit
from mdp_lite.cli.loading import open_editor
from mdp_lite.cli.model_options import EngineOptions, LoadOptions
from mdp_lite.editor import Editor
from mdp_lite.engine import flops
from mdp_lite.engine.estimate import estimate
from mdp_lite.method.plan import naive_plan
from mdp_lite.method.schedule import zero_weights
from mdp_lite.models.config import TAESDConfig
from mdp_lite.models.taesd import TAESD
from mdp_lite.names import VARIANTS, NotFinite
from mdp_lite.pipeline.inversion_methods import METHODS
from mdp_lite.pipeline.preview import fit_preview, to_rgb
from support import taesd
from support.batchers import together
from support.inverting import picture
from support.serving import file_of, open_client, read_image, run_service

PICTURE = picture()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of a small VAE, as its author has them."""
    return taesd.write_pair(tmp_path_factory.mktemp("small"), taesd.small())


@pytest.fixture(
    scope="module",
    params=[
        pytest.param("checkpoint", id="SD"),
        pytest.param("checkpoint_xl", id="SDXL", marks=pytest.mark.slow),
    ],
)
def small(request: pytest.FixtureRequest, place: Path) -> Editor:
    """The random model of each family with it."""
    return Editor.from_pretrained(request.getfixturevalue(request.param), "cpu", vae=place)


@pytest.mark.representative("replay", "edit-friendly")
@pytest.mark.parametrize("method", METHODS)
def test_every_inversion_and_variant(small: Editor, method: str) -> None:
    source = small.invert(PICTURE, "a house", method, 4)
    for variant in VARIANTS:
        edit = small.edit(source, "a blue boat", variant, 3, 1, mask="auto")
        assert edit.picture.size == PICTURE.size


def test_together_as_alone_to_the_bit(small: Editor) -> None:
    source = small.generate("a red house", 1, 5)
    prompts = ["a red boat", "a house at night", "a blue boat on the grass", ""]
    work: list[Callable[[Editor], Any]] = [
        lambda one, p=p: one.edit(source, p).picture.tobytes() for p in prompts
    ]
    work += [lambda one: one.invert(PICTURE, "a house", "replay", 4).path.x.tolist()]
    work += [lambda one: [e.image.tobytes() for e in one.sweep(source, prompts[0],
                          windows=[(4, 2), (5, 2)]).edits]]  # fmt: skip
    assert together(small, work, 16) == [job(small) for job in work]


def test_a_preview_is_fitted_to_it(small: Editor, editor: Editor) -> None:
    vae = small.models.vae
    fitted = fit_preview(vae)
    assert torch.equal(fitted, fit_preview(vae)) and torch.equal(fitted, small.runner.preview_map)
    assert not torch.equal(fitted, fit_preview(editor.models.vae))
    latent = small.generate("a red house", 2, 4).path.x[-1]
    with torch.no_grad():
        want = F.avg_pool2d(vae.decode(latent.float()), small.runner.factor).clamp(-1, 1)
    maps = fitted, fit_preview(editor.models.vae)
    own, other = ((to_rgb(one, latent) - want).square().mean() for one in maps)
    assert own < other


def test_what_is_no_number_is_an_error(small: Editor) -> None:
    model = TAESD(small.models.vae.config)  # type: ignore[arg-type]
    model.load_state_dict(small.models.vae.state_dict())
    with torch.no_grad():
        model.decoder.layers[0].bias[0] = torch.inf  # type: ignore[index]
        model.decoder.layers[0].bias[1] = torch.nan  # type: ignore[index]
    broken = Editor(replace(small.models, vae=model), small.device)
    with pytest.raises(NotFinite, match="the decoded picture is not finite"):
        broken.generate("a red house", 1, 2).image.load()


def test_a_dry_run_has_its_sizes(small: Editor) -> None:
    dry = dry_run_editor(small)
    assert dry.generate("a red house", 1, 2).image.size == small.runner.size


# --- costs -------------------------------------------------------------------------------------


def test_costs_count_it(small: Editor, place: Path) -> None:
    config, (width, height) = small.models.vae.config, small.runner.size
    plan = naive_plan(zero_weights(3), guided=True)
    cost = estimate(small.models, plan, height, width)
    calls = flops.unet(small.models.unet.config, *(s // small.runner.factor for s in
                       (height, width)), 2, small.models.c_shape[0])  # fmt: skip
    assert cost.flops == flops.decode(config, height, width).flops + plan.unet_calls * calls.flops
    parts = (small.models.text_encoder, small.models.unet, small.models.vae)
    weights = [w for part in parts for w in part.parameters()]
    assert cost.weight_bytes == sum(w.nbytes for w in weights)


def test_info_counts_it(checkpoint: Path, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(checkpoint), "--vae", str(place), "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    model = examine(checkpoint, vae=place).models["vae"]
    assert isinstance(model.config, TAESDConfig)
    assert data["parameters"]["vae"] == sum(p.numel() for p in model.parameters())
    assert data["parameters"]["all"] == sum(data["parameters"][p] for p in PARTS)
    names = [name for name in data["files"] if name.startswith("vae ")]
    assert names == ["vae taesd_encoder.safetensors", "vae taesd_decoder.safetensors"]
    plain = estimate_edit(examine(checkpoint))
    assert data["edit"]["flops"]["vae"] == 2 * flops.decode(model.config, 32, 32).flops
    assert data["edit"]["flops"]["unet"] == plain["flops"]["unet"]
    assert main(["info", str(checkpoint), "--no-hash", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["sha256"] != data["sha256"]
    assert main(["info", str(checkpoint), "--vae", str(place)]) == 0
    assert "it is TAESD, a small VAE" in capsys.readouterr().out


PARTS = ("text_encoder", "unet", "vae")


# --- where people give it ----------------------------------------------------------------------


def test_the_command(
    checkpoint: Path, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    PICTURE.save("photo.png")
    line = ["edit", "photo.png", "--source-prompt", "a house", "--prompt", "a boat", "--steps", "4",
            "--model", str(checkpoint), "--device", "cpu", "--quiet"]  # fmt: skip
    assert main([*line, "--vae", str(place), "-o", "small.png", "--cache", "cache"]) == 0
    assert main([*line, "-o", "large.png", "--cache", "cache"]) == 0
    editor = Editor.from_pretrained(checkpoint, "cpu", vae=place)
    source = editor.invert("photo.png", "a house", num_inference_steps=4)
    with Image.open("small.png") as one, Image.open("large.png") as other:
        assert one.tobytes() == editor.edit(source, "a boat").picture.tobytes()
        assert one.tobytes() != other.tobytes()  # the cache holds a source of each VAE


@pytest.mark.parametrize("command", ["generate", "invert", "edit", "sweep", "plan", "batch",
                                     "serve", "app"])  # fmt: skip
def test_every_command_takes_the_same_option(command: str, checkpoint: Path, place: Path) -> None:
    options = import_module(f"mdp_lite.cli.commands.{command}").OPTIONS
    known: Any = next(one for one in fields(options) if one.name == "model").default
    assert isinstance(known, LoadOptions)
    named = {"names": (str(checkpoint),)} if command == "app" else {"name": str(checkpoint)}
    chosen = replace(known, **named, device="cpu", vae=str(place))
    if command == "app":  # the options are those of the first of its models
        chosen = chosen.read_one(str(checkpoint))
    assert isinstance(open_editor(chosen, EngineOptions()).models.vae, TAESD)


def test_the_service_edits_with_it(checkpoint: Path, place: Path) -> None:
    editor = Editor.from_pretrained(checkpoint, "cpu", vae=place)
    form = {"prompt": "a boat", "source_prompt": "a house", "num_inference_steps": "4"}
    with run_service(editor) as at, open_client(at) as client:
        answer = client.post("/v1/images/edits", data=form, files={"image": file_of(PICTURE)})
        assert answer.status_code == 200, answer.text
    image = read_image(base64.b64decode(answer.json()["data"][0]["b64_json"]))
    source = editor.invert(PICTURE, "a house", num_inference_steps=4)
    assert image.tobytes() == editor.edit(source, "a boat").picture.tobytes()
