"""Words that options accept, as types; tests hold them against the library's lists."""

from typing import Literal

Dtype = Literal["auto", "float32", "float16", "bfloat16"]
EngineMode = Literal["auto", "eager", "compile", "graph", "aot"]
ClusterMode = Literal["auto", "eager", "compile", "graph", "aot", "ray"]
PredictionType = Literal["epsilon", "v_prediction", "sample"]
Sampler = Literal["ddim", "euler", "euler-ancestral", "lcm", "tcd"]
Spacing = Literal["leading", "trailing", "linspace"]
Fit = Literal["crop", "pad", "resize", "own"]
Quality = Literal["draft", "standard", "best"]
Method = Literal[
    "replay", "ddim", "fixed-point", "negative-prompt", "null-text", "direct", "edit-friendly"
]
Tune = Literal["all", "plan"]
Variant = Literal["epsilon", "c", "x", "beta"]
VariantOrAll = Literal["epsilon", "c", "x", "beta", "all"]
Schedule = Literal["constant", "linear", "cosine", "exp", "leash", "local-leash"]
Bench = Literal["inversion", "edits", "pie", "speed"]
Split = Literal["tune", "report", "fresh"]
