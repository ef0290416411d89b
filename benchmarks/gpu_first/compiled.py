"""Stage "compiled-step": a guided step by torch.compile; the last one, as it may take minutes."""

import torch

from benchmarks.gpu_first.findings import Findings, Setting
from benchmarks.gpu_first.random_model import build_models
from benchmarks.gpu_first.steps import choose_dtype, make_source, time_calls, time_steps
from benchmarks.gpu_first.timing import summarize
from mdp_lite.editor import Editor
from mdp_lite.names import BadInput


def time_compiled(setting: Setting, findings: Findings) -> None:
    """Milliseconds of a step and of a UNet call in the engine's mode "compile"."""
    models = build_models(setting, choose_dtype(setting, torch.float16))
    try:
        editor = Editor(models, setting.device, engine="compile")
    except BadInput as error:
        return findings.skip(str(error))
    findings.add("compile: ms a UNet call", summarize(time_calls(editor, setting)))
    source = make_source(Editor(models, setting.device, engine="eager"), setting)
    findings.add("compile: ms a step", summarize(time_steps(editor, source, setting)))
