"""Random SDXL pipelines of diffusers' own classes: the oracle of models with two text encoders."""

import random

from diffusers import DDIMScheduler, StableDiffusionXLPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from support import diffusers_pipelines
from support.diffusers_pipelines import SIZE as SIZE
from support.diffusers_pipelines import Options, draw, randomise, vae
from support.letters import END, START, WORDS, scheduler, tokenizer

PLAIN: Options = {"act": "silu", "groups": 4, "eps": 1e-5, "shift": 0, "flip": True}  # SDXL's own


def draw_xl(seed: int) -> Options:
    """Random options of an SDXL checkpoint; seed 0 has the levels and depths of SDXL itself."""
    rng = random.Random(seed)
    depth = 3 if seed == 0 else 2 + seed % 2
    attends = [False, True, True] if seed == 0 else [rng.random() < 0.5, *[True] * (depth - 1)]
    return draw(seed + 2) | {
        "depth": depth,
        "layers": 2 if seed == 0 else 1 + seed % 2,
        "blocks": (1, 2, 3) if seed == 0 else tuple(rng.choice((1, 2)) for _ in range(depth)),
        "heads": tuple(rng.choice((1, 2, 4)) for _ in range(depth)),
        "linear": seed % 3 != 1,
        "widths": tuple(rng.choice((8, 16, 24)) for _ in range(depth)),
        "attends": tuple(attends),
        "text_width": rng.choice((16, 24)),
        "text_width_2": rng.choice((16, 32)),
        "projection": rng.choice((16, 40, 64)),
        "time_dim": rng.choice((8, 16)),
        "zero_empty": seed % 2 == 0,
        "vae_depth": 4,  # diffusers' pipeline wants sides that 8 divides
        "prediction": "v_prediction" if seed % 4 == 3 else "epsilon",
    }


def text_encoder(o: Options, second: bool) -> CLIPTextModel | CLIPTextModelWithProjection:
    width = o["text_width_2" if second else "text_width"]
    config = CLIPTextConfig(
        vocab_size=len(WORDS),
        hidden_size=width,
        intermediate_size=2 * width + 8,
        num_hidden_layers=2 + second,
        num_attention_heads=4,
        max_position_embeddings=16,
        hidden_act="gelu" if second else "quick_gelu",
        projection_dim=o["projection"],
        bos_token_id=START,
        eos_token_id=2 if second else END,  # 2 stands for the highest id, as in SDXL's config
    )
    return (CLIPTextModelWithProjection if second else CLIPTextModel)(config)


def unet(o: Options) -> UNet2DConditionModel:
    added = {
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": o["time_dim"],
        "projection_class_embeddings_input_dim": o["projection"] + 6 * o["time_dim"],
    }
    width = o["text_width"] + o["text_width_2"]
    return diffusers_pipelines.unet(o | PLAIN | {"text_width": width}, added)


def pipeline_xl(seed: int, channels: int = 4) -> StableDiffusionXLPipeline:
    """A random pipeline of these options, whose second tokenizer pads with another token.

    channels are those that the UNet reads.
    """
    o = draw_xl(seed) | {"channels": channels}
    return StableDiffusionXLPipeline(
        vae=randomise(vae(o), seed),
        text_encoder=randomise(text_encoder(o, False), seed + 1),
        text_encoder_2=randomise(text_encoder(o, True), seed + 2),
        tokenizer=tokenizer("<|endoftext|>"),
        tokenizer_2=tokenizer("!"),
        unet=randomise(unet(o), seed + 3),
        scheduler=scheduler(o["prediction"]),
        force_zeros_for_empty_prompt=o["zero_empty"],
        add_watermarker=False,
    )


def ddim(pipeline: StableDiffusionXLPipeline) -> DDIMScheduler:
    """The same noise schedule, stepped by DDIM without clipping, as this project steps."""
    return DDIMScheduler.from_config(pipeline.scheduler.config, clip_sample=False)
