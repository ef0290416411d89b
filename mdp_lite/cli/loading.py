"""The model that the command line asks for."""

from argparse import Namespace
from concurrent.futures import ThreadPoolExecutor

from mdp_lite.checkpoint.load import Choices, Hub
from mdp_lite.editor import Editor
from mdp_lite.pipeline import check


def open_editor(args: Namespace) -> Editor:
    """The model of the command line; the demo shows the same pictures on every device."""
    if args.command == "demo":
        return Editor.from_pretrained("tiny", dtype="float32")
    return Editor.from_pretrained(
        args.model, args.device, args.dtype, args.model_variant, args.prediction_type, args.ema,
        args.tokenizer, args.vae, args.lora, args.embedding, args.revision, None, args.offline,
        args.cache, args.engine, args.packages,
    )  # fmt: skip


def open_editor_in_thread(args: Namespace) -> Editor:
    """The same for other threads than this one, of which one calls the models at a time.

    A thread that has calculated keeps OpenMP's threads until it ends. With those of two there are
    more than cores, and they sleep after each layer instead of waiting for the next: on two cores
    the service's edits took 1.4 times as long (results/serve.md). So the thread that loads it ends.
    """
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(open_editor, args).result()


def read_choices(args: Namespace) -> Choices:
    """What the command line chooses where a checkpoint leaves it open."""
    check.load_choices(args.model_variant, args.prediction_type, args.revision, None)
    hub = Hub(args.revision, None, args.offline)
    return Choices(args.model_variant, args.ema, args.prediction_type, args.tokenizer, hub)
