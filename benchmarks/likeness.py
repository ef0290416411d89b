"""What the VAE of a bundled model gives back of its own world's pictures, and of others, in dB.

    python -m benchmarks.likeness [--model small] [--scenes 700] [--jpegs 200] [--pictures FOLDER]

The bound below which a picture is noted as unlike (`least_psnr` of checkpoint/knowledge.py) was
chosen by these figures: it lies below every scene. --pictures names a folder of other pictures.
"""

import argparse
import io
from collections.abc import Iterable, Iterator
from pathlib import Path

from PIL import Image

from mdp_lite.editor import Editor
from mdp_lite.eval.worlds import find_world
from mdp_lite.names import BadInput
from mdp_lite.pictures import images
from mdp_lite.pictures.decode import open_picture
from mdp_lite.pipeline.likeness import measure_round_trip

FIRST_SEED = 10_000_000  # training has smaller seeds
QUALITY = 75  # of the JPEGs


def to_jpeg(picture: Image.Image) -> Image.Image:
    """The picture as a JPEG gives it back."""
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=QUALITY)
    return images.rgb(Image.open(file))


def measure(editor: Editor, pictures: Iterable[Image.Image]) -> list[float]:
    """PSNR in dB of each picture's round trip, from the worst to the best."""
    return sorted(measure_round_trip(editor.runner, one) for one in pictures)


def describe(name: str, found: list[float], bound: float) -> str:
    """The range of some figures, and how many are below the bound."""
    if not found:
        return f"{name}: none"
    below = sum(one < bound for one in found)
    return f"{name}: {len(found)}, {found[0]:.1f} to {found[-1]:.1f} dB, {below} below {bound:g}"


def open_pictures(folder: Path) -> Iterator[Image.Image]:
    """Every file of a folder that is a picture; of the others the reason is printed."""
    for path in sorted(folder.iterdir()):
        try:
            yield images.rgb(open_picture(path))
        except BadInput as error:
            print(f"left out: {error}")


def draw_scenes(editor: Editor, count: int) -> list[Image.Image]:
    """Pictures of the model's world that training never saw."""
    world = find_world(editor.models.knowledge.pictures)
    return [world.draw(world.sample(FIRST_SEED + i)) for i in range(count)]


def run(args: argparse.Namespace) -> list[str]:
    """A line for the scenes, one for the same as JPEGs, and one for the folder's pictures.

    Raises BadInput for a folder that is not there, and for a negative number of pictures.
    """
    if args.pictures and not args.pictures.is_dir():
        raise BadInput(f"pictures must be a folder, got {args.pictures}")
    if min(args.scenes, args.jpegs) < 0:
        raise BadInput(f"scenes and jpegs must be 0 or more, got {args.scenes} and {args.jpegs}")
    editor = Editor.from_pretrained(args.model, device="cpu")
    bound = editor.models.knowledge.least_psnr or 0.0
    drawn = draw_scenes(editor, max(args.scenes, args.jpegs))
    groups: dict[str, Iterable[Image.Image]] = {
        "scenes": drawn[: args.scenes],
        "as JPEG": map(to_jpeg, drawn[: args.jpegs]),
        "other pictures": open_pictures(args.pictures) if args.pictures else (),
    }
    return [describe(name, measure(editor, some), bound) for name, some in groups.items()]


def main() -> None:
    """Read the command line, and print the figures."""
    parser = argparse.ArgumentParser("python -m benchmarks.likeness", description=__doc__,
                                     formatter_class=argparse.RawTextHelpFormatter)  # fmt: skip
    parser.add_argument("--model", default="small", help="a bundled one")
    parser.add_argument("--scenes", type=int, default=700)
    parser.add_argument("--jpegs", type=int, default=200)
    parser.add_argument("--pictures", type=Path, help="a folder of other pictures")
    try:
        print(*run(parser.parse_args()), sep="\n")
    except BadInput as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
