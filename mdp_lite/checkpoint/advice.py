"""Advice on dtypes for a CPU: what float16 became, and when bfloat16 would be better."""


import torch

LARGE = 10**9  # bytes of weights from which half of them matters
AMX, AVX512 = "amx_bf16", "avx512_bf16"  # bfloat16 products; only the first was measured


def advise_dtype(stored: torch.dtype | None, dtype: torch.dtype, weight_bytes: int) -> list[str]:
    """Sentences on a large model that a CPU computes in float32, else none.

    stored is the dtype in the files; weight_bytes is the size of the weights in float32.
    """
    if dtype != torch.float32 or weight_bytes < LARGE:
        return []
    became = "float16 weights become float32 on a CPU, with the same pictures on every machine"
    sentences = [became] if stored == torch.float16 else []
    if has_bfloat16():
        saved = f"dtype bfloat16 saves {weight_bytes / 2e9:.1f} GB of memory"
        sentences.append(f"{saved} and is faster on this processor{_cite()}")
    return sentences


def has_bfloat16() -> bool:
    """Whether this processor multiplies in bfloat16; elsewhere float32 is as fast."""
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name) is True for name in (AMX, AVX512))


def _cite() -> str:
    return ""
