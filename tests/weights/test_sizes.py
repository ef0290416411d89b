"""The default size of a single file: what its header says, then the name of a Turbo, then family.

The kind: a default of another size than the model was made for, which no error tells.
"""

from pathlib import Path

import pytest

from mdp_lite_weights.families import SD1, SD2, SDXL
from mdp_lite_weights.files import Choices, open_checkpoint
from mdp_lite_weights.sizes import infer_size, read_resolution, size_metadata
from support import ldm

V = "v_prediction"
NAMES = {
    ("x/v1-5-pruned.safetensors", SD1, "epsilon"): 512,
    ("x/v2-1_512-ema.safetensors", SD2, "epsilon"): 512,
    ("x/v2-1_768-ema.safetensors", SD2, V): 768,
    ("x/sd_xl_base_1.0.safetensors", SDXL, "epsilon"): 1024,
    ("x/noobai_vpred.safetensors", SDXL, V): 1024,
    ("x/sd_xl_turbo_1.0_fp16.safetensors", SDXL, "epsilon"): 512,
    ("sdxl-turbo/model.safetensors", SDXL, "epsilon"): 512,
    ("x/sd_turbo.safetensors", SD2, "epsilon"): 512,
    ("x/sd_turbo.safetensors", SD2, V): 512,  # whatever is inferred from its weights
    ("x/DreamShaperXL_Turbo_v2.safetensors", SDXL, "epsilon"): 1024,
    ("x/realvisxl-sdxl-turbo.safetensors", SDXL, "epsilon"): 1024,
    ("x/sdxl_turbo_dreams_v3.safetensors", SDXL, "epsilon"): 1024,
    ("SDXL Turbo Mix/model.safetensors", SDXL, "epsilon"): 1024,
    ("x/SD XL Turbo v1.0.safetensors", SDXL, "epsilon"): 512,
    ("x/sd_xl_lightning_4step.safetensors", SDXL, "epsilon"): 1024,
}


@pytest.mark.parametrize("case", NAMES, ids=lambda case: f"{case[0]}-{case[2]}")
def test_names_and_families(case: tuple[str, str, str]) -> None:
    name, family, prediction = case
    found = infer_size(name, {}, family, prediction)
    assert (found.height, found.width) == (NAMES[case], NAMES[case])
    usual = {SD1: 512, SD2: 768 if prediction == V else 512, SDXL: 1024}[family]
    assert bool(found.notes) == (usual != NAMES[case])


HEADERS = {
    "512x512": (512, 512),
    "768x1024": (768, 1024),
    " 640 x 640 ": (640, 640),
    "1024": (0, 0),
    "500x500": (0, 0),  # 8 does not divide them
    "16x16": (0, 0),
    "99999x512": (0, 0),
    "x": (0, 0),
    "": (0, 0),
}


@pytest.mark.parametrize("text", HEADERS)
def test_what_a_header_says(text: str) -> None:
    assert read_resolution({"modelspec.resolution": text}) == HEADERS[text]
    found = infer_size("x/sdxl-turbo.safetensors", {"modelspec.resolution": text}, SDXL, "epsilon")
    width, height = HEADERS[text] if any(HEADERS[text]) else (512, 512)
    assert (found.width, found.height) == (width, height)
    assert f"pictures of {width}x{height} by default: " in found.notes[0]


def test_a_title_counts_as_a_name() -> None:
    found = infer_size("x/a.safetensors", {"modelspec.title": "SDXL-Turbo"}, SDXL, "epsilon")
    assert found.notes == ("pictures of 512x512 by default: the name SDXL-Turbo says so",)


@pytest.mark.parametrize("sides", [64, [96, 64], None])
def test_a_written_size_is_read_again(sides: int | list[int] | None) -> None:
    metadata = size_metadata({"sample_size": sides})
    assert infer_size("x/a", metadata, SD1, "epsilon").sample_size == (sides or 64)


def test_a_file_is_read_so(tmp_path: Path) -> None:
    tensors = ldm.single(ldm.write_folder(tmp_path / "f"))
    header = {"modelspec.resolution": "768x512"}
    path = ldm.write_single(tmp_path / "m.safetensors", tensors, **header)
    found = open_checkpoint(path, Choices(tokenizer=tmp_path / "f"))
    assert found.configs["unet"]["sample_size"] == [64, 96]
    (note,) = [one for one in found.notes if "by default" in one]
    assert note == "pictures of 768x512 by default: the file's metadata say so"
