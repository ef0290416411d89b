"""Whether a picture is like those that a model was trained on, by what its VAE gives back of it.

Only models of a narrow world say how well that should be (knowledge.py). The bundled model's bound
of 28 dB lies between its world and everything else: 1,000 synthetic scenes come back at 30.5 dB or
more, as PNG and as JPEG, and so do the model's pictures; photos, screenshots, noise and flat
colours at 26 dB or less.
"""

from PIL import Image

from mdp_lite.pictures import images
from mdp_lite.pipeline.runner import ModelRunner


def describe_unlike(runner: ModelRunner, picture: Image.Image) -> list[str]:
    """A sentence for a picture that is unlike the model's, or none; costs one call of the VAE each
    way for models that have a bound, and nothing for others.

    picture: RGB of any size; the middle of it is judged, as the model's default fit would cut it.
    """
    bound, pictures = runner.models.knowledge.least_psnr, runner.models.knowledge.pictures
    if bound is None or measure_round_trip(runner, picture) >= bound:
        return []
    width, height = runner.size
    return [
        f"the model was trained on {pictures} of {width}x{height} pixels and the picture looks "
        "like none of them: the result will be blurred. For photos load a Stable Diffusion "
        "with `--model FOLDER` (`mdp-lite info --list` names some)"
    ]


def measure_round_trip(runner: ModelRunner, picture: Image.Image) -> float:
    """PSNR in dB between a picture at the model's size and what the VAE gives back of it."""
    fitted = runner.fit(picture, "crop", None, None).apply(picture)
    return images.psnr(fitted, runner.decode(runner.encode(fitted)))
