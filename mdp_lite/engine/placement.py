"""Where the parts of a model lie while a GPU edits, from byte counts alone.

The UNet stays on the GPU: every step calls it, and recorded graphs hold the addresses of its
weights. Text encoders are used once a prompt and the VAE once a picture, so they can wait in the
CPU's memory. A VAE whose large maps do not fit computes them in stripes (engine/stripes.py).
"""

from itertools import product
from typing import NamedTuple

DEVICE, WAITS = "device", "waits on the CPU"
WHOLE, STRIPES, STREAMED = "whole", "in stripes", "in stripes, its maps on the CPU"
VAE_CALLS = (WHOLE, STRIPES, STREAMED)
# What stays free: workspaces of cuBLAS and cuDNN, kernels, CUDA's context where it is not there
# yet, and gaps of the allocator. It has not been measured on a GPU.
RESERVE_BYTES = 1_000_000_000


class EditBytes(NamedTuple):
    """The bytes of an edit on a GPU: the weights of each part, and the most of one call of each.

    text_layer: the largest layer of a text encoder, which comes alone if that waits. vae_calls has
    a number for each of VAE_CALLS. path: what lasts over all steps, the latents of a source above
    all. recorded: what recorded graphs keep while none of them runs.
    """

    unet: int
    text_encoder: int
    vae: int
    text_layer: int
    unet_call: int
    text_call: int
    vae_calls: tuple[int, int, int]
    path: int = 0
    recorded: int = 0


class Placement(NamedTuple):
    """Where each part lies, how the VAE computes, and the most bytes at one time.

    unet, text_encoder and vae are "device" or "waits on the CPU"; vae_call is one of VAE_CALLS.
    fits: whether that is within the budget.
    """

    unet: str
    text_encoder: str
    vae: str
    vae_call: str
    peak_bytes: int
    fits: bool = True


def place_parts(sizes: EditBytes, budget: int) -> Placement:
    """The first placement that fits in so many bytes, else the smallest, which then does not fit.

    Waiting changes no number and costs a copy over the bus; stripes change the last bits. So the
    VAE is whole wherever that fits.

    >>> found = place_parts(EditBytes(50, 20, 10, 2, 5, 1, (40, 20, 5)), budget=100)
    >>> found.vae_call, found.text_encoder
    ('whole', 'waits on the CPU')
    """
    every = list_placements(sizes)
    fitting = [one for one in every if one.peak_bytes <= budget]
    if fitting:
        return fitting[0]
    return min(every, key=lambda one: one.peak_bytes)._replace(fits=False)


def list_placements(sizes: EditBytes) -> list[Placement]:
    """All placements, the cheapest first."""
    places = ((DEVICE, DEVICE), (WAITS, DEVICE), (WAITS, WAITS))
    return [
        Placement(DEVICE, text, vae, call, find_peak(sizes, text, vae, call))
        for call, (text, vae) in product(VAE_CALLS, places)
    ]


def find_peak(sizes: EditBytes, text: str, vae: str, vae_call: str) -> int:
    """The most bytes at one time: of the text encoder's phase, the UNet's and the VAE's."""
    stays = sizes.unet + sizes.path
    stays += sizes.text_encoder if text == DEVICE else 0
    stays += sizes.vae if vae == DEVICE else 0
    of_text = sizes.text_call + (sizes.text_layer if text == WAITS else 0)
    of_vae = sizes.vae_calls[VAE_CALLS.index(vae_call)] + (sizes.vae if vae == WAITS else 0)
    return stays + max(sizes.unet_call, sizes.recorded + of_text, sizes.recorded + of_vae)


def choose_vae_call(sizes: EditBytes, text: str, vae: str, budget: int) -> str:
    """The first of VAE_CALLS that fits where the other parts lie, else the smallest."""
    peaks = {call: find_peak(sizes, text, vae, call) for call in VAE_CALLS}
    fits = [call for call, peak in peaks.items() if peak <= budget]
    return fits[0] if fits else min(peaks, key=lambda call: peaks[call])


def describe_placement(found: Placement) -> str:
    """What waits and how the VAE computes, as a part of a sentence.

    >>> describe_placement(Placement("device", "device", "device", "whole", 10))
    'everything stays on the GPU'
    """
    waits = {"text encoder": found.text_encoder, "VAE": found.vae}
    names = " and ".join(name for name, place in waits.items() if place == WAITS)
    parts = [f"the {names} {'wait' if ' and ' in names else 'waits'} on the CPU"] if names else []
    parts += [f"the VAE computes {found.vae_call}"] if found.vae_call != WHOLE else []
    return "; ".join(parts) or "everything stays on the GPU"
