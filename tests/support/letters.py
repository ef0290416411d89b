"""What random SDXL pipelines share with the benchmarks: tokenizers of letters, and a scheduler.

It imports nothing of tests/, so that benchmarks/full_size.py can import it from a checkout.
"""

from diffusers import EulerDiscreteScheduler
from transformers import CLIPTokenizer

LETTERS = tuple(f"{letter}</w>" for letter in "abcdefghijklmn")
WORDS = ("!", *LETTERS, "<|startoftext|>", "<|endoftext|>")  # the end is last, as in CLIP
START, END = len(WORDS) - 2, len(WORDS) - 1


def tokenizer(pad: str) -> CLIPTokenizer:
    """A tokenizer of single letters; SDXL's two pad with other tokens."""
    ids = {word: i for i, word in enumerate(WORDS)}
    return CLIPTokenizer(ids, [], unk_token="!", pad_token=pad, model_max_length=16)


def scheduler(prediction: str) -> EulerDiscreteScheduler:
    """SDXL's own noise schedule, under the class that it is saved with."""
    return EulerDiscreteScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        steps_offset=1,
        timestep_spacing="leading",
        prediction_type=prediction,
    )
