"""Loading the model that the command line asks for."""

from argparse import Namespace
from concurrent.futures import ThreadPoolExecutor

from mdp_lite.checkpoint.load import Choices, Hub
from mdp_lite.editor import Editor
from mdp_lite.pipeline import check


def open_editor(args: Namespace) -> Editor:
    """Load the model of the command line.

    The demo uses the bundled one in float32, so that its pictures are the same on every device.
    """
    if args.command == "demo":
        return Editor.from_pretrained("tiny", dtype="float32")
    return Editor.from_pretrained(
        args.model, args.device, args.dtype, args.model_variant, args.prediction_type, args.ema,
        args.tokenizer, args.vae, args.lora, args.embedding, args.revision, None, args.offline,
        args.cache, args.engine, args.packages,
    )  # fmt: skip


def open_editor_in_thread(args: Namespace) -> Editor:
    """Load the model in a thread that ends, for commands whose models run in another thread.

    A thread that has computed keeps its OpenMP threads until it ends. If two such threads live,
    there are more OpenMP threads than cores, and they sleep after each layer: on two cores the
    service's edits took 1.4 times as long (benchmarks/results/serve.md).
    """
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(open_editor, args).result()


def read_choices(args: Namespace) -> Choices:
    """The options that say what a checkpoint does not say about itself."""
    check.load_choices(args.model_variant, args.prediction_type, args.revision, None)
    hub = Hub(args.revision, None, args.offline)
    return Choices(args.model_variant, args.ema, args.prediction_type, args.tokenizer, hub)
