"""The recipe of the second bundled model: the village at 128 x 128, by the VAE's factor of 8.

Its training is counted in steps, so that it can stop and go on anywhere: stopped time is free.
"""

from pathlib import Path

from mdp_lite.eval.worlds import VILLAGE
from train_tiny.recipe import Recipe, Settings, unet_of, vae_of

CHANNELS = 8  # of the latents: one number for 24 of a picture's

SMALL = Recipe(
    name="small",
    world=VILLAGE,
    size=VILLAGE.size,
    length=44,
    scenes=24_000,
    vae=vae_of((16, 32, 64, 128), VILLAGE.size, CHANNELS),
    unet=unet_of((72, 112, 152), groups=8, cross=128, channels=CHANNELS),
    text_width=128,
    text_layers=2,
    vae_training=Settings(0, batch=8, peak=2e-3, average=0.998, steps=4_500, tail=0.3, muon=True),
    unet_training=Settings(
        0, batch=64, peak=2e-3, average=0.9995, steps=21_000, tail=0.3, muon=True
    ),
    decoder_training=Settings(
        0, batch=8, peak=1e-3, average=0.998, steps=3_000, tail=0.7, muon=True
    ),
    reader=VILLAGE.reader,
    reader_training=Settings(
        0, batch=64, peak=2e-3, average=0.998, steps=6_000, tail=0.5, muon=True
    ),
    reader_scenes=72_000,
    defaults={"num_inference_steps": 50, "guidance_scale": 4.0},
    least_psnr=23.5,
    resume=Path(__file__).with_name("resume") / "small.safetensors",
)
