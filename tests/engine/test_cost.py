"""Costs from configs alone, compared with hand counts, torch's counters and diffusers."""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context

import pytest
import torch
from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel
from torch import nn
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from mdp_lite.engine import flops
from mdp_lite.models.clip import CLIPTextEncoder
from mdp_lite.models.config import CLIPConfig, TAESDConfig, UNetConfig, VAEConfig
from mdp_lite.models.taesd import TAESD
from mdp_lite.models.unet import UNet
from mdp_lite.models.vae import VAE
from support.checkpoints import UNET_CONFIG, VAE_CONFIG

TEXT_CONFIG = CLIPConfig(50, 16, 32, 3, 2, max_position_embeddings=24)
SD1 = UNetConfig(cross_attention_dim=768)
SD_VAE = VAEConfig((128, 256, 512, 512))
# Attending at every level: its feed-forward, of many cells, is where most is alive.
ATTENDING = replace(
    UNET_CONFIG,
    block_out_channels=(32, 64),
    down_block_types=("CrossAttnDownBlock2D",) * 2,
    up_block_types=("CrossAttnUpBlock2D",) * 2,
)

Run = Callable[[], object]


def linear(inp: int, out: int, n: int = 1) -> int:
    return 2 * inp * out * n


def attention(dim: int, n: int, tokens: int) -> int:
    return 2 * (2 * dim * n * tokens)  # q k^T, and its softmax times v


def resnet(inp: int, out: int, n: int) -> int:
    shortcut = linear(inp, out, n) if inp != out else 0
    return 9 * linear(inp, out, n) + linear(32, out) + 9 * linear(out, out, n) + shortcut


def transformer(dim: int, n: int, tokens: int) -> int:
    self_attention = 4 * linear(dim, dim, n) + attention(dim, n, n)
    to_text = 2 * linear(dim, dim, n) + 2 * linear(16, dim, tokens) + attention(dim, n, tokens)
    feed_forward = linear(dim, 8 * dim, n) + linear(4 * dim, dim, n)
    return 2 * linear(dim, dim, n) + self_attention + to_text + feed_forward


def test_unet_flops_by_hand() -> None:
    big, small, tokens = 8 * 12, 4 * 6, 7
    want = linear(8, 32) + linear(32, 32) + 9 * linear(4, 8, big)
    want += resnet(8, 8, big) + 9 * linear(8, 8, small)
    want += resnet(8, 16, small) + transformer(16, small, tokens)
    want += 2 * resnet(16, 16, small) + transformer(16, small, tokens)
    want += resnet(32, 16, small) + resnet(24, 16, small) + 2 * transformer(16, small, tokens)
    want += 9 * linear(16, 16, big) + resnet(24, 8, big) + resnet(16, 8, big)
    want += 9 * linear(8, 4, big)
    assert flops.unet(UNET_CONFIG, 8, 12, tokens=tokens).flops == want


def test_text_flops_by_hand() -> None:
    layer = 4 * linear(16, 16, 24) + attention(16, 24, 24) + 2 * linear(16, 32, 24)
    assert flops.text(TEXT_CONFIG, 24, rows=2).flops == 2 * 3 * layer


def real_unet() -> tuple[Run, flops.CallCost]:
    unet, x, c = UNet(UNET_CONFIG), torch.zeros(2, 4, 8, 8), torch.zeros(2, 24, 16)
    return lambda: unet(x, torch.tensor(5.0), c), flops.unet(UNET_CONFIG, 8, 8, 2, 24)


def real_text() -> tuple[Run, flops.CallCost]:
    text, ids = CLIPTextEncoder(TEXT_CONFIG), torch.zeros(3, 24, dtype=torch.long)
    return lambda: text(ids), flops.text(TEXT_CONFIG, 24, 3)


def real_encode() -> tuple[Run, flops.CallCost]:
    vae, picture = VAE(VAE_CONFIG), torch.zeros(2, 3, 32, 64)
    return lambda: vae.encode(picture), flops.encode(VAE_CONFIG, 32, 64, 2)


def real_decode() -> tuple[Run, flops.CallCost]:
    vae, latent = VAE(VAE_CONFIG), torch.zeros(2, 4, 8, 16)
    return lambda: vae.decode(latent), flops.decode(VAE_CONFIG, 32, 64, 2)


def real_small_encode() -> tuple[Run, flops.CallCost]:
    vae, picture = TAESD(TAESDConfig()), torch.zeros(2, 3, 32, 64)
    return lambda: vae.encode(picture), flops.encode(TAESDConfig(), 32, 64, 2)


def real_small_decode() -> tuple[Run, flops.CallCost]:
    vae, latent = TAESD(TAESDConfig()), torch.zeros(2, 4, 4, 8)
    return lambda: vae.decode(latent), flops.decode(TAESDConfig(), 32, 64, 2)


REAL = [real_unet, real_text, real_encode, real_decode, real_small_encode, real_small_decode]


@pytest.mark.parametrize("case", REAL)
def test_flops_are_what_torch_counts_on_a_real_model(
    case: Callable[[], tuple[Run, flops.CallCost]],
) -> None:
    def count_fused(q: torch.Size, k: torch.Size, v: torch.Size, *_: object, **__: object) -> int:
        return sdpa_flop_count(q, k, v)

    run, call = case()
    # torch's counter has no formula for the attention that a real CPU runs.
    formula = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: count_fused}
    with torch.no_grad(), FlopCounterMode(display=False, custom_mapping=formula) as counter:
        run()
    assert call.flops == counter.get_total_flops() > 0


def count_on_meta(build: Callable[[], nn.Module], run: Callable[[nn.Module], object]) -> int:
    with torch.device("meta"), torch.no_grad():
        model = build()
        with FlopCounterMode(display=False) as counter:
            run(model)
    return counter.get_total_flops()


def test_stable_diffusion_1_costs_what_diffusers_costs() -> None:
    unet = count_on_meta(
        lambda: UNet2DConditionModel(sample_size=64, cross_attention_dim=768),
        lambda model: model(torch.empty(1, 4, 64, 64), torch.empty(()), torch.empty(1, 77, 768)),
    )
    assert flops.unet(SD1, 64, 64).flops == unet
    assert round(unet / 1e9, 1) == 803.3  # half of it, 402, are the multiply-adds
    vae = count_on_meta(
        lambda: AutoencoderKL(
            block_out_channels=SD_VAE.block_out_channels,
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=2,
        ),
        lambda model: model.decode(torch.empty(1, 4, 64, 64)),  # type: ignore[operator]
    )
    assert flops.decode(SD_VAE, 512, 512).flops == vae


def test_a_small_vae_costs_what_diffusers_costs() -> None:
    calls = {"encode": (1, 3, 512, 512), "decode": (1, 4, 64, 64)}
    want = {
        name: count_on_meta(
            AutoencoderTiny, lambda m, n=name, s=shape: getattr(m, n)(torch.empty(s))
        )
        for name, shape in calls.items()
    }
    small, large = (
        {name: getattr(flops, name)(config, 512, 512).flops for name in calls}
        for config in (TAESDConfig(), SD_VAE)
    )
    assert small == want
    assert round(sum(large.values()) / sum(small.values()), 1) == 13.8  # docs/models.md says so
    assert round(large["decode"] / small["decode"], 1) == 17.8
    rows = 5 * flops.unet(SD1, 64, 64).flops
    shares = [total / (total + rows) for total in (sum(large.values()), sum(small.values()))]
    assert [round(share, 2) for share in shares] == [0.47, 0.06]


def measure_peak(run: Run) -> int:
    """The most bytes that torch's allocator had given out at one time during a run."""
    with torch.no_grad():
        run()
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
            run()
    now = peak = 0
    for event in seen.profiler.kineto_results.events():  # type: ignore[union-attr]
        if event.name() == "[memory]":
            now += event.nbytes()
            peak = max(peak, now)
    return peak


@pytest.mark.filterwarnings("ignore:Warning. Profiler clears events")  # of torch 2.11
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_unet_peak_is_what_the_allocator_sees(dtype: torch.dtype) -> None:
    x, c = torch.zeros(1, 4, 32, 32, dtype=dtype), torch.zeros(1, 24, 16, dtype=dtype)
    t, unet = torch.tensor(5.0), UNet(ATTENDING).to(dtype)
    real = measure_peak(lambda: unet(x, t, c)) + x.nbytes + c.nbytes + t.nbytes
    peak = flops.unet(ATTENDING, 32, 32, tokens=24, dtype=dtype).peak_bytes
    scratch = real - peak  # a processor with bfloat16 kernels gives them memory of their own
    assert scratch == 0 if dtype == torch.float32 else 0 <= scratch < peak / 10


@pytest.mark.parametrize("act", ["relu", "silu", "gelu", "mish"])
def test_peaks_of_a_small_vae_are_what_the_allocator_sees(act: str) -> None:
    config = TAESDConfig(act_fn=act)
    vae, picture, latent = TAESD(config), torch.zeros(1, 3, 64, 96), torch.zeros(1, 4, 8, 12)
    pairs = (
        (lambda: vae.encode(picture), picture, flops.encode(config, 64, 96)),
        (lambda: vae.decode(latent), latent, flops.decode(config, 64, 96)),
    )
    for run, given, cost in pairs:
        real = measure_peak(run) + given.nbytes
        assert 0 <= real - cost.cpu_bytes <= 64 * 64 * 9 * 4  # oneDNN's copy of a weight


def test_gaps_are_left_between_small_tensors_only() -> None:
    small = flops.decode(VAE_CONFIG, 128, 128)
    assert small.resident_bytes == 2 * small.cpu_bytes
    wide = replace(VAE_CONFIG, block_out_channels=(512, 512, 512))
    large = flops.decode(wide, 512, 512)  # maps of 512 MiB
    assert large.cpu_bytes < large.resident_bytes < 1.01 * large.cpu_bytes


def test_decoder_peak_by_hand() -> None:
    """In the last level: the second residual block's input, and three maps within that."""
    latent, cells = 4 * 32 * 32, 8 * 128 * 128
    kept = latent * 3  # as given, unscaled, and convolved
    assert flops.decode(VAE_CONFIG, 128, 128).peak_bytes == 4 * (4 * cells + kept)


def test_attention_is_never_a_matrix_in_memory() -> None:
    scores = 8 * 4096 * 4096 * 4  # of the 64x64 cells, 8 heads, in float32
    text = 77 * 2 * (5 * 320 + 5 * 640 + 6 * 1280) * 4  # keys and values, made before all else
    # In a new process: after torch.compile has run, frames keep arguments alive for longer.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as fresh:
        call = fresh.submit(flops.unet, SD1, 64, 64).result()
    assert call.peak_bytes < scores / 4 + text


def test_bytes_follow_dtype_and_rows() -> None:
    one = flops.unet(UNET_CONFIG, 8, 8)
    two = flops.unet(UNET_CONFIG, 8, 8, rows=2)
    half = flops.unet(UNET_CONFIG, 8, 8, dtype=torch.float16)
    assert 1.9 * one.peak_bytes < two.peak_bytes <= 2 * one.peak_bytes
    assert half.flops == one.flops and 0.5 <= half.peak_bytes / one.peak_bytes < 0.51
