"""The parts of a checkpoint: their models on the meta device, and all of them ready to run."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from mdp_lite.checkpoint.assign import BuildOnMeta, check_tensors
from mdp_lite.checkpoint.config_files import read_clip_config, read_unet_config, read_vae_config
from mdp_lite.checkpoint.defaults import Defaults
from mdp_lite.checkpoint.fit import check_fit
from mdp_lite.checkpoint.identity import Origin
from mdp_lite.checkpoint.knowledge import Knowledge
from mdp_lite.checkpoint.tokenizer import Tokenizer, Tokenizers
from mdp_lite.models.clip import CLIPTextEncoder, CLIPTextEncoders
from mdp_lite.models.condition import count_rows
from mdp_lite.models.config import SchedulerConfig
from mdp_lite.models.taesd import AnyVAE, build_vae
from mdp_lite.models.unet import UNet
from mdp_lite.names import BadInput

Configs = dict[str, dict[str, Any]]  # of each part, the options of its config file
TEXT_PARTS = ("text_encoder", "text_encoder_2")  # the second is SDXL's


@dataclass(frozen=True)
class Models:
    """The parts of a Stable Diffusion checkpoint, ready to run; they are never changed.

    notes are sentences on what the checkpoint does not say and was inferred. zero_empty: the null
    row of an empty negative prompt is zeros, not what the text encoders make of it. clip_skip is
    how many more of the last layers of the text encoders are left out than usual.
    """

    name: str
    folder: Path | None
    text_encoder: CLIPTextEncoder | CLIPTextEncoders
    unet: UNet
    vae: AnyVAE
    tokenizer: Tokenizer | Tokenizers
    scheduler: SchedulerConfig
    defaults: Defaults
    notes: tuple[str, ...]
    origin: Origin
    zero_empty: bool = False
    knowledge: Knowledge = Knowledge()
    clip_skip: int = 0

    @property
    def inpaints(self) -> bool:
        """Whether the UNet also reads a mask and the picture without what the mask covers."""
        return self.unet.config.constant_channels > 0

    @property
    def c_shape(self) -> tuple[int, int]:
        """The tokens l and the width d of a condition c (1, l, d)."""
        config = self.unet.config
        rows = count_rows(config.extra_dim, config.cross_attention_dim)
        return self.tokenizer.length + rows, config.cross_attention_dim


def build_models(
    name: str, configs: Configs, tensors: dict[str, dict[str, Tensor]],
    vae: str | Path | None = None,
) -> dict[str, Any]:  # fmt: skip
    """The models on the meta device, by part; raises BadCheckpoint for other keys or shapes.

    configs and tensors are those of the checkpoint, by part; vae is the place of a VAE that
    replaces the checkpoint's.
    """
    texts = {part: read_clip_config(part, configs[part]) for part in TEXT_PARTS if part in configs}
    unet, decoder = read_unet_config(configs["unet"]), read_vae_config(configs["vae"])
    check_fit(list(texts.values()), unet, decoder)
    with BuildOnMeta():
        models: dict[str, Any] = {part: CLIPTextEncoder(text) for part, text in texts.items()}
        models |= {"unet": UNet(unet), "vae": build_vae(decoder)}
    for part, model in models.items():
        place = vae if part == "vae" and vae is not None else name
        check_tensors(f"{Path(place).name}, {part}", model, tensors[part])
    return models


def check_clip_skip(clip_skip: object, models: dict[str, Any]) -> None:
    """Raises BadInput for more layers than the text encoders have; SDXL's leave one out already."""
    layers = [models[part].config.num_hidden_layers for part in TEXT_PARTS if part in models]
    most = min(layers) - (len(layers) - 1)
    if type(clip_skip) is not int or not 0 <= clip_skip <= most:
        have = "the text encoder has" if len(layers) == 1 else "the text encoders have"
        count = " and ".join(map(str, layers))
        raise BadInput(
            f"clip_skip must be from 0 to {most}, as {have} {count} layers, got {clip_skip!r}",
            "clip_skip",
        )


def join_text(models: dict[str, Any], tokenizer: Tokenizer | Tokenizers) -> dict[str, Any]:
    """The same models with both text encoders as one, where there are two."""
    if "text_encoder_2" not in models:
        return models
    assert isinstance(tokenizer, Tokenizers)
    rest = {part: model for part, model in models.items() if part not in TEXT_PARTS}
    both = CLIPTextEncoders(
        models["text_encoder"], models["text_encoder_2"], tokenizer.second.clip.eos_token_id
    )
    return {"text_encoder": both, **rest}
