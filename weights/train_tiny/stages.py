"""The stages of a recipe: what each needs in the work folder, what it writes, and its run."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from transformers import CLIPTokenizer

from mdp_lite.names import BadInput
from train_tiny import autoencoder, denoiser, reader
from train_tiny.data import prepare
from train_tiny.export import export
from train_tiny.pack import describe, pack, unpack
from train_tiny.recipe import PARTS, Recipe
from train_tiny.tokens import write_tokenizer
from train_tiny.workers import spawn


class Places(NamedTuple):
    """The folders of checkpoints and of the result; the reader's file, None to leave it."""

    work: Path
    out: Path
    reader: Path | None

    @property
    def tokenizer(self) -> Path:
        """The tokenizer that captions are encoded with."""
        return self.work / "tokenizer"


class Stage(NamedTuple):
    """Files of the work folder that a stage needs and writes; whether it needs the scenes."""

    run: Callable[[Recipe, Places], None]
    needs: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    sees: bool = True


def draw_scenes(recipe: Recipe, places: Places) -> None:
    """Nothing more: the scenes are drawn before every stage that needs them."""


def train_vae(recipe: Recipe, places: Places) -> None:
    """Train both halves of the VAE, and encode all pictures."""
    autoencoder.check_latents(places.work)
    spawn(autoencoder.train, recipe, places.work, batch=recipe.vae_training.batch)
    autoencoder.encode(recipe, places.work)


def train_unet(recipe: Recipe, places: Places) -> None:
    """Train the UNet and the text encoder on the latents."""
    words = CLIPTokenizer.from_pretrained(places.tokenizer)
    empty = words("", padding="max_length", max_length=recipe.length)["input_ids"]
    batch = recipe.unet_training.batch
    spawn(denoiser.train, recipe, places.work, len(words), empty, batch=batch)


def train_decoder(recipe: Recipe, places: Places) -> None:
    """Train the VAE's decoder alone."""
    batch = recipe.decoder_training.batch
    spawn(autoencoder.train_decoder, recipe, places.work, batch=batch)


def train_reader(recipe: Recipe, places: Places) -> None:
    """Draw the scenes that the reader alone learns from, if there are some, and train it."""
    if recipe.reader_scenes:
        more = replace(recipe, scenes=recipe.reader_scenes)
        prepare(reader.find_scenes(recipe, places.work), more, places.tokenizer)
    reader.stage(recipe, places.work)


def write_checkpoint(recipe: Recipe, places: Places) -> None:
    """Write the checkpoint folder; with places.reader the reader's weights, too."""
    export(recipe, places.work, places.out)
    trained = places.work / reader.NAME
    if places.reader and trained.exists():
        shutil.copyfile(trained, places.reader)


def write_pack(recipe: Recipe, places: Places) -> None:
    """Write the file from which another machine goes on."""
    assert recipe.resume
    print("packed", describe(pack(recipe, places.work, recipe.resume)))


STAGES = {
    "data": Stage(draw_scenes),
    "vae": Stage(train_vae, (), ("vae.pt", "latents.npy", "scale.npy")),
    "unet": Stage(train_unet, ("latents.npy", "scale.npy"), ("unet.pt",)),
    "decoder": Stage(train_decoder, ("vae.pt", "latents.npy", "scale.npy"), ("decoder.pt",)),
    "reader": Stage(train_reader, (), ("reader.pt",)),
    "export": Stage(write_checkpoint, ("vae.pt", "scale.npy", "unet.pt"), sees=False),
    "pack": Stage(write_pack, sees=False),
}


def check_stages(names: Sequence[str], recipe: Recipe, work: Path) -> None:
    """Raise BadInput for a stage that needs a file which neither work has nor a stage before it
    writes, and for a pack of a recipe that names no file for it."""
    there = {path.name for path in work.glob("*")}
    for name in names:
        stage = STAGES[name]
        missing = [file for file in stage.needs if file not in there]
        if missing:
            raise BadInput(f"{name} needs {', '.join(missing)} of earlier stages in {work}")
        if name == "pack" and not recipe.resume:
            raise BadInput(f"the recipe of {recipe.name} names no file to pack into")
        there |= set(stage.writes)


def start_work(recipe: Recipe, work: Path) -> None:
    """Make the folder, with the committed training in it if it has none of its own."""
    write_tokenizer(work / "tokenizer", recipe.world.words, recipe.length)
    resume = recipe.resume
    if resume and resume.exists() and not any((work / f"{part}.pt").exists() for part in PARTS):
        print("resuming from", resume.name, describe(unpack(resume, work)))


def run_stage(name: str, recipe: Recipe, places: Places) -> None:
    """Run one stage: it reads the files of earlier ones, and goes on from its own checkpoint."""
    stage = STAGES[name]
    if stage.sees:
        prepare(places.work, recipe, places.tokenizer)
    stage.run(recipe, places)
