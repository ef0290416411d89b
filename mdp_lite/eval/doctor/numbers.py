"""The doctor on numbers: kernels, engines, graphs and 16 bits against what they stand for."""

from collections.abc import Sequence
from copy import deepcopy

import torch
from torch import Tensor

from mdp_lite.cli.commands.doctor import DoctorOptions
from mdp_lite.cli.units import SIZES, format_count
from mdp_lite.editor import Editor
from mdp_lite.engine.engine import choose_attention, list_missing
from mdp_lite.eval.doctor.check import Check, collect_warnings, judge
from mdp_lite.eval.doctor.model import LoadedModel, make_case
from mdp_lite.eval.resources import read_memory
from mdp_lite.eval.rounds import time_call
from mdp_lite.eval.speed import BOUNDS, make_inputs
from mdp_lite.eval.world import draw
from mdp_lite.method.sample import sample
from mdp_lite.method.schedule import zero_weights
from mdp_lite.models.transformer import SDPA
from mdp_lite.models.unet import UNet
from mdp_lite.names import BadInput
from mdp_lite.pictures.images import psnr
from mdp_lite.pipeline import check
from mdp_lite.pipeline.finite import to_float32
from mdp_lite.pipeline.request import Request

Distances = dict[torch.dtype, float]
ATTENTION = (1, 8, 2048, 40)  # rows, heads, cells, width of a head: as in SD 1.5
TRIES = 3
ROWS = 2  # of a UNet call: a guided step
RUNS = 3  # of an edit or a call with graphs: those are recorded at the second
# Of the latent of an edit: each step may choose other kernels, and its errors go into the next.
EDIT_BOUNDS = {torch.float32: 1e-3, torch.float16: 5e-2, torch.bfloat16: 1e-1}
SHARE = 0.8  # of the free memory that copies of a UNet may take
BUG = "results are wrong here: report this with the whole output of mdp-lite doctor"


def check_kernel(args: DoctorOptions) -> Check:
    """The native kernels are here, or why not; and this device's attention agrees with torch's."""
    try:
        device = check.device(args.model.device)
    except BadInput:
        return Check("kernel", "skipped", "the device is not there")
    if args.run.dry_run:
        reasons = "; ".join(["left out in a dry run", *list_missing(device)])
        return Check("kernel", "skipped", reasons)
    dtypes = (torch.float32, torch.bfloat16) if device.type == "cpu" else (torch.float16,)
    distances = {dtype: measure_attention(device, dtype) for dtype in dtypes}
    missing, faster = list_missing(device), compare_speed(device)
    figures = {"missing": missing, "times_as_fast": faster, "distances": name_each(distances)}
    words = describe_distances(distances)
    if not_near(distances):
        return judge("kernel", False, f"attention is too far from torch's: {words}", BUG, figures)
    if missing and not could_run_kernel(device):
        return Check("kernel", "skipped", "; ".join(missing), "", figures)
    native = f"native attention, {faster:.1f} times as fast as torch's"
    kind = "torch's attention" if choose_attention(device) is SDPA else native
    advice = "install it again with a compiler: edits on a CPU take several times less with it"
    return judge("kernel", not missing, "; ".join([*missing, f"{kind}: {words}"]), advice, figures)


def could_run_kernel(device: torch.device) -> bool:
    """Whether the processor is one that the native kernels are for: x86-64 with AVX2."""
    return device.type == "cpu" and torch.backends.cpu.get_cpu_capability().startswith("AVX")


@torch.no_grad()
def measure_attention(device: torch.device, dtype: torch.dtype) -> float:
    """The distance of the device's attention from torch's in float32."""
    q, k, v = make_attention(device, dtype)
    got = choose_attention(device)(q, k, v)
    return measure_distance(got, SDPA(q.float(), k.float(), v.float()))


@torch.no_grad()
def compare_speed(device: torch.device) -> float:
    """How many times as fast as torch's the device's attention is, in float32."""
    inputs = make_attention(device, torch.float32)
    own, torchs = (
        min(time_call(lambda f=f: f(*inputs), device) for _ in range(TRIES))
        for f in (choose_attention(device), SDPA)
    )
    return torchs / own


def make_attention(device: torch.device, dtype: torch.dtype) -> list[Tensor]:
    """q, k, v (b, h, n, d) of an attention."""
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(ATTENTION, generator=generator).to(device, dtype) for _ in range(3)]


@torch.no_grad()
def check_engine(loaded: LoadedModel) -> Check:
    """A UNet call by the engine agrees with the plain modules, in the model's dtype."""
    editor, engine = loaded.editor, loaded.editor.runner.engine
    dtype = editor.models.origin.dtype
    x, t, c = make_inputs(editor, ROWS)
    inputs = x.to(dtype), t, c.to(dtype)
    for _ in range(RUNS - 1):  # a graph is recorded for other values than those that are compared
        engine.denoise(0 * inputs[0], *inputs[1:])
    got = engine.denoise(*inputs)
    distances = {dtype: measure_distance(got, editor.models.unet(*inputs))}
    text = f"a UNet call by engine {engine.mode} against plain modules: "
    text += describe_distances(distances)
    figures = {"engine": engine.mode, "distances": name_each(distances)}
    return judge("engine", not not_near(distances), text, f"give --engine eager; {BUG}", figures)


def check_capture(loaded: LoadedModel) -> Check:
    """Edits with CUDA graphs agree with eager ones, and their graphs were recorded.

    Where the source has no weight, each step calls the UNet, so that a graph is replayed for other
    values than those it was recorded with. The other edit is a default one.
    """
    models, device = loaded.editor.models, loaded.editor.device
    if device.type != "cuda":
        reason = f"CUDA graphs need a CUDA device, and this run is on {device.type}"
        return Check("capture", "skipped", reason)
    gpu = loaded.editor.runner.gpu
    eager, graph = (Editor(models, device, engine=mode, gpu=gpu) for mode in ("eager", "graph"))
    case, steps = make_case(loaded)
    source = eager.generate(case.source, case.seed, steps)
    weights = zero_weights(len(source.grid.t))
    requests = [Request(source, case.target, weights=weights), Request(source, case.target)]
    want = join_latents(eager, requests)
    with collect_warnings() as warned:
        latents = [join_latents(graph, requests) for _ in range(RUNS)]
    recorder, dtype = graph.runner.engine.recorder, models.origin.dtype
    count = recorder.count if recorder else 0
    distances = {dtype: find_furthest(latents, want)}
    words = describe_distances(distances, EDIT_BOUNDS)
    text = "; ".join([f"graphs recorded: {count}", f"edits against eager: {words}", *warned])
    works = count > 0 and not warned and not not_near(distances, EDIT_BOUNDS)
    figures = {"graphs": count, "warnings": warned, "distances": name_each(distances)}
    return judge("capture", works, text, f"give --engine eager; {BUG}", figures)


def join_latents(editor: Editor, requests: Sequence[Request]) -> Tensor:
    """The clean latents of edits that run one after another (b, 4, y, x)."""
    return torch.cat([editor.edits([one])[0].latent for one in requests])


def find_furthest(latents: Sequence[Tensor], want: Tensor) -> float:
    """The largest distance; NaN if any is."""
    return float(torch.tensor([measure_distance(one, want) for one in latents]).max())


@torch.no_grad()
def check_precision(loaded: LoadedModel) -> Check:
    """A UNet call in 16 bits is near float32, for each dtype that this device is good at."""
    editor, unet = loaded.editor, loaded.editor.models.unet
    own = editor.models.origin.dtype
    dtypes = list_dtypes(editor.device, own)
    need, free = count_copies(unet, own), find_free_memory(editor.device)
    if free is not None and need > SHARE * free:
        sizes = (format_count(one, SIZES) for one in (need, free))
        reason = "copies of the UNet take {}, and {} of memory are free".format(*sizes)
        return Check("precision", "skipped", reason)
    x, t, c = make_inputs(editor, ROWS)
    want = (unet if own == torch.float32 else to_float32(unet))(x, t, c)
    distances = {dtype: measure_distance(call_in(unet, dtype, x, t, c), want) for dtype in dtypes}
    text = f"a UNet call against float32: {describe_distances(distances)}"
    advice = "give --dtype float32, or another dtype that is near it"
    return judge("precision", not not_near(distances), text, advice,
                 {"distances": name_each(distances)})  # fmt: skip


def list_dtypes(device: torch.device, own: torch.dtype) -> list[torch.dtype]:
    """The model's dtype if it has 16 bits, and those that the device is good at."""
    good = [torch.bfloat16] if device.type == "cpu" else [torch.float16]
    if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        good.append(torch.bfloat16)
    return [one for one in dict.fromkeys((own, *good)) if one != torch.float32]


def call_in(unet: UNet, dtype: torch.dtype, x: Tensor, t: Tensor, c: Tensor) -> Tensor:
    """A call of the UNet with its weights in another dtype, as plain modules."""
    model = unet if next(unet.parameters()).dtype == dtype else deepcopy(unet).to(dtype)
    return model(x.to(dtype), t, c.to(dtype))


def count_copies(unet: UNet, own: torch.dtype) -> int:
    """The bytes of the copies that are made: one of 16 bits, one of float32 if need be."""
    count = sum(weight.numel() for weight in unet.parameters())
    return count * (2 if own == torch.float32 else 6)


def find_free_memory(device: torch.device) -> int | None:
    """Free bytes of the device, or None if that is not known."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else read_memory()[1]


@torch.no_grad()
def check_reconstruction(loaded: LoadedModel) -> Check:
    """Sampling along an inverted picture's path gives its latent again.

    Every step calls the UNet, and the source has no weight: the noise that was recorded must make
    up for what the model predicts. A plan would skip all of them, as they lead where the path does.
    """
    editor, (case, steps) = loaded.editor, make_case(loaded)
    source = editor.invert(draw(case.source_scene), case.source, num_inference_steps=steps)
    weights, g = zero_weights(len(source.grid.t)), source.guidance_scale
    task = editor.tasks([Request(source, source.prompt, guidance_scale=g, weights=weights)])[0]
    grid, guidance, path, table, _ = task
    v_prediction, unet = editor.runner.v_prediction, editor.runner.unet
    *_, last = sample(unet, grid, path.x[0], guidance, v_prediction, path, table)
    distances = {editor.models.origin.dtype: measure_distance(last.x, path.x[-1])}
    nearness = psnr(editor.runner.decode(last.x), source.fit.apply(source.picture))
    text = f"sampled again from an inverted picture: {describe_distances(distances)}; the picture "
    text += f"with the VAE's loss: {nearness:.1f} dB"
    figures = {"distances": name_each(distances), "psnr": nearness, "steps": steps}
    return judge("reconstruction", not not_near(distances), text, BUG, figures)


def measure_distance(got: Tensor, want: Tensor) -> float:
    """The norm of the difference, over that of what is wanted; NaN if either has NaN."""
    a, b = got.cpu().double(), want.cpu().double()  # not every device has float64
    return float((a - b).norm() / b.norm())


def not_near(distances: Distances, bounds: Distances = BOUNDS) -> bool:
    """Whether one is beyond the bound of its dtype, as NaN is."""
    return not all(error <= bounds[dtype] for dtype, error in distances.items())


def describe_distances(distances: Distances, bounds: Distances = BOUNDS) -> str:
    """Each distance and its bound in words."""
    return ", ".join(
        f"{name} {error:.1e} (bound {bounds[dtype]:.0e})"
        for (dtype, error), name in zip(distances.items(), name_each(distances), strict=True)
    )


def name_each(distances: Distances) -> dict[str, float]:
    """The same by the dtype's name, for --json."""
    return {str(dtype).removeprefix("torch."): error for dtype, error in distances.items()}
