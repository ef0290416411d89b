"""The peers of the table: what runs each, in which environment and dtype, and what is the same."""

import re
from dataclasses import dataclass

BF16, FP32, INT8 = "bfloat16", "float32", "int8"


@dataclass(frozen=True)
class Peer:
    """A row of the table.

    kind and mode choose its code (worker.load_side). lossy: it gives up exactness for speed, so
    its distance is reported and not bounded. note: why it is not quite the same work.
    """

    name: str
    kind: str
    mode: str
    environment: str = "main"
    dtype: str = BF16
    lossy: bool = False
    note: str = ""

    @property
    def slug(self) -> str:
        """Its name for files."""
        return re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-")

    @property
    def makes_pictures(self) -> bool:
        """Its interface makes whole pictures: with_cpp.py."""
        return self.kind == "stable-diffusion.cpp"

    @property
    def ours(self) -> bool:
        """Whether it is mdp_lite."""
        return self.kind.startswith("mdp_lite")


ANCHOR = Peer("mdp_lite eager", "mdp_lite", "eager")
REFERENCE = Peer("diffusers float32", "diffusers", "float32", dtype=FP32)
PEERS = (
    ANCHOR,
    Peer("mdp_lite compiled", "mdp_lite", "compile"),
    Peer("mdp_lite packages", "mdp_lite", "aot"),
    Peer("diffusers eager", "diffusers", "eager", note="channels_last"),
    Peer("diffusers compiled", "diffusers", "compiled", note="channels_last, frozen weights"),
    Peer("OpenVINO", "openvino", BF16),
    Peer("OpenVINO int8", "openvino", INT8, dtype=INT8, lossy=True, note="NNCF W8A8; VAE bfloat16"),
    Peer("ONNX Runtime", "onnxruntime", FP32, dtype=FP32,
         note="not the same dtype: its CPU kernels have no bfloat16"),
    Peer("ONNX Runtime int8", "onnxruntime", INT8, dtype=INT8, lossy=True,
         note="linear layers and convolutions; VAE float32"),
    Peer("zentorch", "diffusers", "zentorch", "zentorch", note="torch 2.14, frozen weights"),
    Peer("stable-diffusion.cpp f16", "stable-diffusion.cpp", "f16", "cpp", dtype="float16",
         note="one row a call"),
    Peer("stable-diffusion.cpp q8_0", "stable-diffusion.cpp", "q8_0", "cpp", dtype=INT8, lossy=True,
         note="one row a call, weights in 8 bits"),
)  # fmt: skip
TOYS = (
    Peer("mdp_lite toy", "mdp_lite_toy", "right"),
    Peer("slow toy", "toy", "slow"),
    Peer("lossy toy", "toy", "coarse", lossy=True),
    Peer("coarse toy", "toy", "coarse"),
    Peer("wrong toy", "toy", "wrong"),
    Peer("dying toy", "toy", "dies"),
    Peer("raising toy", "toy", "raises"),
    Peer("absent toy", "toy", "absent"),
)
