"""Whether a picture is like those that a model was trained on, by what its VAE gives back of it.

Only models of a narrow world say how well that should be (checkpoint/knowledge.py). The bound of
tiny, 27 dB, lies between its world and others: of 1,000 synthetic scenes the worst comes back at
29.9 dB, as a JPEG of quality 75 at 29.0 dB, and the model's edits at 31.0 dB or more, but ten
photos at 15 to 22 dB, their crops at 25.1 dB or less, screenshots and flat colours at 25 dB or
less. A part of a scene, much enlarged, counts as unlike too: it is as blurred. A picture that is
smooth at the model's size may pass: the VAE gives it back well.

That of small, 23.5 dB, notes fewer pictures: its VAE gives back more than its world. Of 700 scenes
the worst comes back at 24.3 dB, of 200 as a JPEG at 24.2 dB, but only 17 of the 28 photos and
drawings in scikit-image and scikit-learn come back at less than the bound.

`python -m benchmarks.likeness` measures scenes, their JPEGs and a folder of other pictures.
"""

from PIL import Image

from mdp_lite.pictures import images
from mdp_lite.pipeline.result import Source
from mdp_lite.pipeline.runner import ModelRunner
from mdp_lite.pipeline.warn import warn_unlike


def is_unlike(runner: ModelRunner, picture: Image.Image) -> bool:
    """Whether an edit of an RGB picture of any size will be blurred; False if nothing is known.

    The middle of the picture is judged, as the default fit cuts it. That costs one call of the
    VAE each way for models that have a bound, and nothing for others.
    """
    bound = runner.models.knowledge.least_psnr
    return bound is not None and measure_round_trip(runner, picture) < bound


def describe_unlike(runner: ModelRunner, picture: Image.Image) -> list[str]:
    """A sentence for such a picture, with what to do about it, or none."""
    if not is_unlike(runner, picture):
        return []
    width, height = runner.size
    return [
        f"the model was trained on {runner.models.knowledge.pictures} of {width}x{height} pixels, "
        "and the picture looks like none of them: the result will be blurred. For photos load a "
        "Stable Diffusion of your own with --model (`mdp-lite info --list`)"
    ]


def describe_unlike_source(runner: ModelRunner, source: Source) -> list[str]:
    """The same for the picture that a source was inverted from; none for a generated one."""
    return [] if source.generated else describe_unlike(runner, source.picture)


def warn_of_picture(runner: ModelRunner, picture: Image.Image) -> None:
    """Log that sentence, once in a process."""
    for sentence in describe_unlike(runner, images.rgb(picture)):
        warn_unlike(sentence)


def measure_round_trip(runner: ModelRunner, picture: Image.Image) -> float:
    """PSNR in dB between a picture at the model's size and what the VAE gives back of it."""
    fitted = runner.fit(picture, "crop", None, None).apply(picture)
    return images.psnr(fitted, runner.decode(runner.encode(fitted)))
