"""How many bytes pictures, answers and tasks take, from their sizes alone.

The factors were measured as resident bytes; tests/serve/test_serve_memory_at_most.py attacks the
sum of all.
"""

from collections.abc import Sequence
from typing import NamedTuple

from mdp_lite.editor import Editor
from mdp_lite.engine.memory import LATENT_BYTES
from mdp_lite.pictures.fit import Size
from mdp_lite.pipeline.result import Source
from mdp_lite.serve.settings import Limits
from mdp_lite.serve.store import source_bytes
from mdp_lite.serve.work import EditSpec, PictureRecipe, Recipe

RGB, GREY = 4, 1  # bytes of a pixel in memory: Pillow keeps colours in words
COPIES, MASKED_COPIES = 14, 18  # bytes of an uploaded pixel while a task copies, undoes and pastes
TENSORS = 64  # bytes of a pixel of the model's picture: as float32, as bytes, and between
PATHS = 8  # latents of a step: the pivots, noise, maps and steps of an inversion, and their stacks
DIRECTIONS = 2  # of a source that records them: of its steps, and their stack
STATES = 64  # latents of an edit beside its path
CONDITIONS = 8  # conditions of a task: of both prompts, with and without text, and as rows
TASK = 2**20  # bytes of a task beside all that
FILE = 3.25  # bytes of a pixel in the file of noise: PNG has most, 3.01
SETTINGS = 128  # bytes in a file for each character of the limit on prompts
PIECE = 2**20  # bytes of an answer that are converted and sent at a time
SENDING = 4  # pieces that wait to be sent at a time, and copies of the part of a smaller answer
JOB_COPIES = 3  # of a file in the answer to a job: itself, and in base64 as it is stored
TOOL_COPIES = 4  # of a file in the answer of a tool: itself, in base64, as JSON and being sent
TEXT = 8  # bytes of a form's texts in memory for each that arrives: characters may take four
PLAIN = 4  # the same of a job's ASCII: as it came, as one text, its fields, and what is stored
ARRIVING = 2  # bytes in memory for each of a body, while it is joined


class TaskSize(NamedTuple):
    """The sizes of a task: of the picture as it came, and of the model's; its steps; its copies.

    pictures are those that come out: one, or as many as a sweep has. directed: the source that is
    made records its directions.
    """

    picture: Size
    target: Size
    steps: int
    masked: bool = False
    pictures: int = 1
    directed: bool = False


def count_pixels(size: Size) -> int:
    """Pixels of a (width, height)."""
    return size[0] * size[1]


def size_of_task(editor: Editor, origin: Recipe | Source, spec: EditSpec | None = None) -> TaskSize:
    """The sizes of making a source, or of an edit with its source."""
    steps = None if isinstance(origin, Source) else origin.num_inference_steps
    n = len(origin.grid.t) if isinstance(origin, Source) else steps
    n = editor.models.defaults.num_inference_steps if n is None else n
    picture, target = find_sizes(editor, origin)
    masked = spec is not None and (spec.mask is not None or spec.steering.mask_auto)
    directed = not isinstance(origin, Source) and origin.record_direction
    return TaskSize(picture, target, n, masked, directed=directed)


def find_sizes(editor: Editor, origin: Recipe | Source) -> tuple[Size, Size]:
    """The (width, height) of the picture of a source or recipe, and of the model's."""
    if isinstance(origin, Source):
        return origin.picture.size, origin.image.size
    target = editor.runner.image_size(*(origin.size or (None, None)))
    return origin.picture.size if isinstance(origin, PictureRecipe) else target, target


def working_bytes(editor: Editor, task: TaskSize) -> int:
    """Bytes that a task takes while it runs, beside the uploads that it reads."""
    pixels, cells = count_pixels(task.picture), count_pixels(task.target)
    latent = latent_numbers(editor, task.target)
    copies = MASKED_COPIES if task.masked else COPIES
    tokens, width = editor.models.c_shape
    each = RGB * (pixels + cells) + PATHS * LATENT_BYTES * latent  # of one more result
    return (
        copies * pixels
        + TENSORS * cells
        + ((PATHS + DIRECTIONS * task.directed) * task.steps + STATES) * LATENT_BYTES * latent
        + CONDITIONS * 4 * tokens * width * task.pictures
        + (task.pictures - 1) * each
        + TASK
    )


def file_bytes(size: Size, limits: Limits) -> int:
    """The most bytes of a picture's file, with its settings."""
    return int(FILE * count_pixels(size)) + SETTINGS * limits.prompt


def answer_bytes(sizes: Sequence[Size], limits: Limits, previews: int = 0) -> int:
    """Bytes of an answer with pictures of these sizes, and of the part that is being sent.

    Previews, of a stream's one picture, wait as pictures; one of them is a file at a time.
    """
    files = sum(file_bytes(size, limits) for size in sizes) * (2 if previews else 1)
    waiting = previews * RGB * sum(map(count_pixels, sizes))
    return files + min(SENDING * PIECE, SENDING * files) + waiting


def made_source_bytes(editor: Editor, origin: Recipe | Source) -> int:
    """Bytes of a source: its path with all that it records, and its pictures."""
    if isinstance(origin, Source):
        return source_bytes(origin)
    task = size_of_task(editor, origin)
    picture, cells = count_pixels(task.picture), count_pixels(task.target)
    return RGB * (picture + cells) + LATENT_BYTES * path_latents(editor, task)


def path_latents(editor: Editor, task: TaskSize) -> int:
    """Numbers of a path with its noise: latents, noise of the UNet, recorded noise, directions."""
    return ((3 + task.directed) * task.steps + 1) * latent_numbers(editor, task.target)


def latent_numbers(editor: Editor, target: Size) -> int:
    """Numbers of a latent of the model's picture."""
    channels = editor.models.vae.config.latent_channels
    return count_pixels(target) // editor.runner.factor**2 * channels


def text_limit(limits: Limits) -> int:
    """The most bytes of all texts of a request: more than any that the limits allow takes."""
    return 2**20 + 16 * limits.prompt * (limits.cells + 8)
