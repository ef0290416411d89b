"""Several models from the command line and a file, what a dry run says, and what restarts keep."""

import json
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest

from mdp_lite.__main__ import main
from mdp_lite.cli.commands.serve import ServedModelsOptions, ServeOptions
from mdp_lite.cli.model_options import EngineOptions, ModelOptions
from mdp_lite.editor import Editor
from mdp_lite.model_pool.catalog import choose_bound, read_all_facts
from mdp_lite.model_pool.specs import read_editor_facts, read_specs
from mdp_lite.names import BadInput
from mdp_lite.serve.cluster import resolve_sizes
from mdp_lite.serve.settings import ServiceSettings, check_settings
from support.served_models import Zoo, ask_for, build_zoo, read_picture, write_lora
from support.serving import WAIT, run_service

TABLE = """
[[models]]
alias = "second"
aliases = ["two", "zwei"]
model = "/models/two"
revision = "main"
dtype = "float32"
lora = ["style.safetensors:0.8"]
pinned = true
"""


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Zoo:
    return build_zoo(tmp_path_factory.mktemp("zoo"))


def test_models_of_the_command_line_and_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "models.toml"
    file.write_text(TABLE)
    base = ModelOptions(name="first", device="cpu", cache="sources", lora=(("own", 1.0),))
    one, two = read_specs(["b=/models/b"], file, base, EngineOptions())
    assert (one.alias, one.model.name, one.model.cache, one.model.lora) == (
        "b", "/models/b", "sources", (),
    )  # fmt: skip
    assert two.names == ("second", "two", "zwei") and two.is_pinned
    assert two.model.lora == (("style.safetensors", 0.8),)
    assert (two.model.checkpoint.revision, two.model.dtype) == ("main", "float32")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "tables"),
        ("models = 3", "tables"),
        ("[[models]]\nalias = 'a'", "model of a model"),
        ("[[models]]\nalias = 'a'\nmodel = 'b'\nsize = 3", "got 'size'"),
        ("[[models]]\nalias = 'a'\nmodel = 'b'\npinned = 1", "true or false"),
        ("[[models]]\nalias = 'a'\nmodel = 'b'\ndtype = 'int8'", "dtype must be"),
        ("[[models]]\nalias = 'a'\nmodel = 'b'\naliases = 'c'", "list of texts"),
        ("nonsense", "readable TOML"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, text: str, error: str) -> None:
    file = tmp_path / "models.toml"
    file.write_text(text)
    with pytest.raises(BadInput, match=error):
        read_specs([], file, ModelOptions(), EngineOptions())


def test_wrong_settings_of_several_models_are_refused(zoo: Zoo) -> None:
    with pytest.raises(BadInput, match="ALIAS=MODEL"):
        read_specs(["b"], None, ModelOptions(), EngineOptions())
    twice = ServiceSettings("a", others=(zoo.spec("b"), zoo.spec("b")))
    with pytest.raises(BadInput, match="each alias must be given once"):
        check_settings(twice)
    with pytest.raises(BadInput, match="needs first"):
        check_settings(ServiceSettings(lora_folder=zoo.loras))


def test_a_model_that_can_never_fit_is_refused_with_figures(zoo: Zoo) -> None:
    editor = zoo.editor("a")
    size = read_editor_facts(editor).bytes
    settings = ServiceSettings(**zoo.settings(1.9))
    with pytest.raises(BadInput, match="the model 'b' takes .* those that stay loaded take"):
        choose_bound(settings, read_all_facts(editor, settings), editor.device)
    pinned = (zoo.spec("b"), zoo.spec("c", is_pinned=True))
    for room, fits in ((2.5, False), (3.5, True)):  # a and c stay: then b has no room in 2.5
        one = replace(settings, others=pinned, model_memory=int(room * size))
        facts = read_all_facts(editor, one)
        assert [facts[alias].bytes for alias in "abc"] == 3 * [size]
        if fits:
            assert choose_bound(one, facts, editor.device) == int(room * size)
        else:
            with pytest.raises(BadInput, match="'b'"):
                choose_bound(one, facts, editor.device)


def test_a_dry_run_lists_the_models(zoo: Zoo, capsys: pytest.CaptureFixture[str]) -> None:
    size = zoo.size()
    line = ["serve", "--model", str(zoo.folder / "a"), "--dry-run", "--device", "cpu"]
    line += ["--port", "0"]
    line += ["--serve-model", f"b={zoo.folder / 'b'}", "--lora-folder", str(zoo.loras)]
    assert main([*line, "--json", "--model-memory", "1"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert {alias: one["bytes"] for alias, one in facts["models"].items()} == {
        "mdp-lite": size, "b": size,
    }  # fmt: skip
    assert facts["model_memory"] == 10**9 and facts["loras"] == ["x", "y"]
    assert main(line) == 0
    out = capsys.readouterr().out
    assert "loaded when a request names it\n" in out and "may name: x, y\n" in out


def test_replicas_are_of_one_model() -> None:
    options = ServeOptions(models=ServedModelsOptions(serve_model=("b=c",)))
    with pytest.raises(BadInput, match="--serve-model is for one process"):
        resolve_sizes(options)


def test_a_source_with_loras_outlives_a_restart(zoo: Zoo, tmp_path: Path) -> None:
    """Its recipe has the model and the LoRAs by content: with others it is not found."""
    cache = str(tmp_path / "cache")
    settings = zoo.settings(2.5, "b")
    own = zoo.spec("b")
    settings["others"] = (replace(own, model=replace(own.model, cache=cache)),)
    form = {"source_prompt": "a red house", "seed": "3", "num_inference_steps": "2", "model": "b"}
    form["lora"] = '[{"name": "x", "weight": 0.5}]'
    editor = Editor.from_pretrained(zoo.folder / "a", device="cpu", cache=cache)
    with run_service(editor, **settings) as at:
        name = httpx2.post(f"{at.url}/v1/sources", data=form, timeout=WAIT).json()["id"]
        before = edit(at.url, name).json()
    with run_service(editor, **settings) as at:
        assert httpx2.get(f"{at.url}/v1/sources/{name}").json()["lora"][0]["name"] == "x"
        after = edit(at.url, name).json()
        assert after["model"] == "b" and after["lora"] == before["lora"]
        assert read_picture(after).tobytes() == read_picture(before).tobytes()
    path = zoo.loras / "x.safetensors"
    data = path.read_bytes()
    write_lora(path, 9)
    try:
        with run_service(editor, **settings) as at:
            assert edit(at.url, name).status_code == 404
            assert httpx2.delete(f"{at.url}/v1/sources/{name}").status_code == 200
    finally:
        path.write_bytes(data)


def edit(url: str, name: str) -> httpx2.Response:
    body = {"prompt": "a blue house"}
    return httpx2.post(f"{url}/v1/sources/{name}/edits", json=body, timeout=WAIT)


def test_a_file_that_broke_after_the_start_fails_its_model_alone(zoo: Zoo) -> None:
    with run_service(zoo.editor("a"), **zoo.settings(2.5)) as at:
        file = zoo.folder / "b" / "unet" / "diffusion_pytorch_model.safetensors"
        data = file.read_bytes()
        file.write_bytes(data[: len(data) // 2])
        make = f"{at.url}/v1/images/generations"
        answer = httpx2.post(make, json=ask_for("b"), timeout=WAIT)
        file.write_bytes(data)
        assert answer.status_code == 503 and answer.json()["error"]["code"] == "model_failed"
        assert str(zoo.folder) not in answer.text
        for alias in "ac":
            assert httpx2.post(make, json=ask_for(alias), timeout=WAIT).status_code == 200
        states = {
            one["id"]: one["state"] for one in httpx2.get(f"{at.url}/v1/models").json()["data"]
        }
        assert states == {"a": "loaded", "b": "failed", "c": "loaded"}
