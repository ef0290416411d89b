"""Which parts wait on the CPU: the rule on byte counts, and what it gives published models.

    python -m pytest -rP tests/engine/test_placement.py

prints the planned bytes of full-size models beside what is alive when they run on the meta device.
"""

from functools import partial

import pytest
import torch

from mdp_lite.engine.edit_bytes import EditSize, ModelFacts, count_edit_bytes, count_vae_bytes
from mdp_lite.engine.gpu import GB, GpuSettings, find_budget
from mdp_lite.engine.placement import (
    DEVICE,
    RESERVE_BYTES,
    STREAMED,
    STRIPES,
    VAE_CALLS,
    WAITS,
    WHOLE,
    EditBytes,
    Placement,
    choose_vae_call,
    describe_placement,
    find_peak,
    list_placements,
    place_parts,
)
from mdp_lite.engine.stripes import stripe
from mdp_lite.models.config import TAESDConfig
from mdp_lite.models.unet import UNet
from mdp_lite.models.vae import VAE
from mdp_lite.names import BadInput
from support.live_bytes import META, build_on_meta, peak_of
from support.published import HALF, SD15, SDXL, SINGLE, VAE_CONFIG, sd15, sdxl

GIB = 2**30
NEAR = 0.15  # of what is alive
SMALL = EditBytes(
    unet=100, text_encoder=30, vae=10, text_layer=3, unet_call=20, text_call=1,
    vae_calls=(60, 40, 5), path=7, recorded=20,
)  # fmt: skip
LARGE = EditSize(1024, 1024)


def test_the_peak_is_the_largest_phase() -> None:
    """By hand: 107 stay; the text's phase, the UNet's, and the VAE's beside recorded graphs."""
    assert find_peak(SMALL, DEVICE, DEVICE, WHOLE) == 107 + 30 + 10 + 20 + 60
    assert find_peak(SMALL, WAITS, DEVICE, WHOLE) == 107 + 10 + 20 + 60
    assert find_peak(SMALL, WAITS, WAITS, STREAMED) == 107 + 20 + 10 + 5
    assert find_peak(SMALL, DEVICE, WAITS, STREAMED) == 107 + 30 + 20 + 10 + 5
    texts = SMALL._replace(text_layer=70)
    assert find_peak(texts, WAITS, WAITS, STREAMED) == 107 + 20 + 70 + 1
    steps = SMALL._replace(unet_call=500)
    assert find_peak(steps, DEVICE, DEVICE, WHOLE) == 107 + 30 + 10 + 500


@pytest.mark.parametrize(
    ("budget", "want"),
    [
        (10**6, (DEVICE, DEVICE, WHOLE)),
        (227, (DEVICE, DEVICE, WHOLE)),
        (226, (WAITS, DEVICE, WHOLE)),
        (197, (WAITS, DEVICE, WHOLE)),
        (196, (WAITS, DEVICE, STRIPES)),
        (177, (WAITS, DEVICE, STRIPES)),
        (176, (DEVICE, DEVICE, STREAMED)),
        (150, (WAITS, DEVICE, STREAMED)),
    ],
)
def test_the_first_that_fits_and_the_whole_vae_before_stripes(
    budget: int, want: tuple[str, str, str]
) -> None:
    found = place_parts(SMALL, budget)
    assert (found.text_encoder, found.vae, found.vae_call) == want
    assert found.fits and found.peak_bytes <= budget and found.unet == DEVICE


def test_what_does_not_fit_is_the_smallest_and_says_so() -> None:
    found = place_parts(SMALL, 10)
    assert not found.fits
    assert found.peak_bytes == min(one.peak_bytes for one in list_placements(SMALL))


def test_more_memory_never_makes_more_wait() -> None:
    ranks = [list_placements(SMALL).index(place_parts(SMALL, budget)) for budget in range(142, 300)]
    assert ranks == sorted(ranks, reverse=True) and ranks[0] > ranks[-1] == 0


def test_the_vae_of_parts_that_lie_already() -> None:
    for budget in range(100, 300):
        call = choose_vae_call(SMALL, WAITS, DEVICE, budget)
        fits = [one for one in VAE_CALLS if find_peak(SMALL, WAITS, DEVICE, one) <= budget]
        assert call == (fits[0] if fits else STREAMED)
    equal = SMALL._replace(vae_calls=(5, 5, 5))
    assert choose_vae_call(equal, WAITS, DEVICE, 0) == WHOLE  # stripes would gain nothing


def test_a_placement_as_a_sentence() -> None:
    both = describe_placement(Placement(DEVICE, WAITS, WAITS, STRIPES, 1))
    assert both == "the text encoder and VAE wait on the CPU; the VAE computes in stripes"
    one = describe_placement(Placement(DEVICE, WAITS, DEVICE, WHOLE, 1))
    assert one == "the text encoder waits on the CPU"


def test_the_budget_of_a_gpu_that_is_not_here_is_what_it_is_said_to_have() -> None:
    assert find_budget(torch.device("cpu"), GpuSettings(memory=8)) == 8 * GB - RESERVE_BYTES


@pytest.mark.parametrize(
    "bad", [{"memory": 0}, {"memory": "8"}, {"memory": True}, {"tf32": 1}, {"channels_last": None}]
)
def test_bad_settings_are_refused(bad: dict) -> None:
    (name,) = bad
    with pytest.raises(BadInput, match=name):
        GpuSettings(**bad)


def alive(model: ModelFacts, side: int, placed: Placement) -> int:
    """The most bytes of an edit on the meta device: the weights that stay, and each phase's."""
    laid, y = model.dtype == HALF, side // 8
    config = SDXL if model.unet == SDXL else SD15
    unet = build_on_meta(lambda: UNet(config), model.dtype, laid)
    x = torch.empty(2, 4, y, y, dtype=model.dtype, device=META)
    c = torch.empty(2, model.tokens, config.cross_attention_dim, dtype=model.dtype, device=META)
    step = peak_of(unet, lambda: unet(x, torch.empty((), device=META), c))
    vae = build_on_meta(lambda: VAE(VAE_CONFIG), model.vae_dtype, model.vae_dtype == HALF)
    form = vae if placed.vae_call == WHOLE else stripe(vae)
    picture, latent = (1, 3, side, side), (1, 4, y, y)
    calls = [
        peak_of(vae, partial(call, torch.empty(shape, dtype=model.vae_dtype, device=META)),
                placed.vae_call == STREAMED)
        for call, shape in ((form.encode, picture), (form.decode, latent))
    ]  # fmt: skip
    size, wide = model.dtype.itemsize, model.vae_dtype.itemsize
    weights = [n * w for n, w in zip(model.weights, (size, size, wide), strict=True)]
    stays = weights[0] + (weights[1] if placed.text_encoder == DEVICE else 0)
    return stays + weights[2] + step + max(calls)  # graphs keep the step's; the VAE is there


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "side", "limit"),
    [("sd15", 512, 2.6), ("sd15 in float32", 512, 5.2), ("sdxl", 1024, 8), ("sdxl", 1024, 6.2)],
)
def test_a_full_size_edit_is_planned_within_its_limit_and_near_what_is_alive(
    name: str, side: int, limit: float
) -> None:
    model = sdxl() if name == "sdxl" else sd15(SINGLE if "float32" in name else HALF)
    placed = place_parts(count_edit_bytes(model, EditSize(side, side)), int(limit * GIB))
    found = alive(model, side, placed)
    print(f"{name} at {side}: planned {placed.peak_bytes / GIB:.2f} GiB, alive {found / GIB:.2f}")
    print(describe_placement(placed))
    assert placed.fits and placed.peak_bytes <= limit * GIB
    assert abs(placed.peak_bytes / found - 1) <= NEAR


@pytest.mark.slow
def test_cards_of_8_and_12_gb_edit_sd15_and_sdxl() -> None:
    """SD 1.5 at 512 needs nothing to wait in 8 GB; SDXL at 1024 fits in 12 and 8 GB."""
    small, large = count_edit_bytes(sd15(), EditSize(512, 512)), count_edit_bytes(sdxl(), LARGE)
    budgets = {gb: gb * GB - RESERVE_BYTES for gb in (6, 8, 10, 12)}
    eight = place_parts(small, budgets[8])
    assert describe_placement(eight) == "everything stays on the GPU" and eight.fits
    found = {gb: place_parts(large, budget) for gb, budget in budgets.items()}
    for gb, one in found.items():
        print(f"SDXL at 1024 in {gb} GB: {one.peak_bytes / GB:.2f} GB; {describe_placement(one)}")
    assert [one.fits for one in found.values()] == [False, True, True, True]
    assert found[8].vae_call == STREAMED and found[12].vae_call == WHOLE


def test_channels_last_costs_the_copies_of_maps_and_taesd_has_no_stripes() -> None:
    plain = count_vae_bytes(VAE_CONFIG, HALF, 512, 512, GpuSettings(channels_last=False))
    laid = count_vae_bytes(VAE_CONFIG, HALF, 512, 512)
    assert plain[0] < laid[0] <= 1.2 * plain[0]
    assert count_vae_bytes(VAE_CONFIG, SINGLE, 512, 512) == count_vae_bytes(
        VAE_CONFIG, SINGLE, 512, 512, GpuSettings(channels_last=False)
    )  # float32 has no tensor cores without TF32
    assert len(set(count_vae_bytes(TAESDConfig(), HALF, 512, 512))) == 1
