"""How many kernels a call of the UNet launches, counted as ATen calls on the meta device."""

from collections import Counter
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch.utils._python_dispatch import TorchDispatchMode

from mdp_lite.models.config import UNetConfig
from mdp_lite.models.unet import UNet

FREE = {  # they only look at memory in another way
    "view", "_unsafe_view", "t", "transpose", "permute", "expand", "slice", "split", "chunk",
    "select", "unsqueeze", "squeeze", "as_strided", "alias", "detach", "split_with_sizes",
    "reshape", "empty", "empty_like", "lift_fresh", "_to_copy", "narrow", "unbind",
}  # fmt: skip
SD15 = UNetConfig(cross_attention_dim=768, sample_size=64)


class CallCounter(TorchDispatchMode):
    """Counts what is called under it."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        self.calls[function.__name__.split(".")[0]] += 1
        return function(*args, **(kwargs or {}))

    @property
    def launches(self) -> int:
        """Calls that take a kernel."""
        return sum(count for name, count in self.calls.items() if name not in FREE)


@pytest.fixture(scope="module")
def launches() -> dict[str, CallCounter]:
    """By whom, for one guided step at 512x512 in 16 bits."""
    meta = {"device": "meta", "dtype": torch.bfloat16}
    with torch.device("meta"):
        ours = UNet(SD15).bfloat16()
        theirs = UNet2DConditionModel(
            sample_size=64, cross_attention_dim=768, attention_head_dim=8
        ).bfloat16()
    x, c = torch.empty(2, 4, 64, 64, **meta), torch.empty(2, 77, 768, **meta)
    t = torch.tensor(500, device="meta")
    times, text = ours.times(t, c), ours.text(c)
    runs = {
        "diffusers": lambda: theirs(x, t, c),
        "ours": lambda: ours(x, t, c),
        "of a recorded step": lambda: ours.predict(x, times, text),
    }
    counters = {}
    with torch.no_grad():
        for name, run in runs.items():
            with CallCounter() as counters[name]:
                run()
    return counters


def test_a_call_launches_less_than_diffusers(launches: dict[str, CallCounter]) -> None:
    counts = {name: one.launches for name, one in launches.items()}
    print(counts)
    assert counts["ours"] < counts["diffusers"]
    assert counts["of a recorded step"] <= counts["ours"] - 32 - 22 - 4, (
        counts
    )  # keys, values; times


def test_what_depends_on_the_text_or_the_time_alone_is_not_computed_again(
    launches: dict[str, CallCounter],
) -> None:
    recorded, whole = launches["of a recorded step"].calls, launches["ours"].calls
    linear = lambda calls: calls["addmm"] + calls["mm"] + calls["linear"]  # noqa: E731
    assert linear(whole) - linear(recorded) == 32 + 22 + 2
    assert recorded["convolution"] == whole["convolution"]
