"""The same edit elsewhere: as a line for the shell, and as Python."""

import shlex
from pathlib import Path

from mdp_lite.app.form import Form, inversion, source_guidance
from mdp_lite.app.work import MASK
from mdp_lite.pipeline.inversion_methods import DEFAULT_METHOD, Inversion

BUNDLED = "tiny"


def command(form: Form, picture: str | None, model: str) -> str:
    """The mdp-lite command that makes the same picture."""
    words = ["mdp-lite", "edit"]
    if form.case == "picture":
        words += [Path(picture or "picture.png").name]
    words += ["--source-prompt", form.source_prompt, "--prompt", form.prompt]
    words += ["--steps", str(form.steps), "--guidance-scale", str(form.guidance_scale)]
    if form.case == "prompt":
        words += ["--seed", str(form.seed)]
    else:
        words += _inverting(form)
    if form.negative_prompt:
        words += ["--negative-prompt", form.negative_prompt]
    words += ["--variant", form.variant, "--schedule", form.schedule]
    if form.steer == "strength":
        words += ["--strength", str(form.strength)]
    else:
        words += ["--t-max", str(form.t_max), "--t-m", str(form.t_m)]
    words += _where(form)
    words += [] if model == BUNDLED else ["--model", model]
    return shlex.join([*words, "-o", "edited.png"])


def python(form: Form, picture: str | None, model: str) -> str:
    """Python that makes the same picture."""
    named = "" if model == BUNDLED else repr(model)
    masked = form.where == "painted"
    imports = ["from PIL import Image", ""] if form.case == "picture" or masked else []
    edit = ", ".join(f"{name}={value!r}" for name, value in _steering(form).items())
    if masked:
        edit += f", mask=Image.open({MASK!r}), feather={form.feather}"
    elif form.where == "found":
        edit += f", mask='auto', feather={form.feather}"
    how, invert = inversion(form), form.case == "picture"
    plain = how == Inversion(how.method) or how.seed == 0
    extra = (
        [] if plain or not invert else ["from mdp_lite.pipeline.inversion_methods import Inversion"]
    )
    lines = [
        *imports,
        "from mdp_lite import Editor",
        *extra,
        "",
        f"editor = Editor.from_pretrained({named})",
        _source(form, picture, repr(how.method) if plain else _called(how)),
        f"edit = editor.edit(source, {form.prompt!r}, {edit})",
        'edit.picture.save("edited.png")',
    ]
    return "\n".join(lines)


def _inverting(form: Form) -> list[str]:
    words = [] if form.method == DEFAULT_METHOD else ["--method", form.method]
    seed = inversion(form).seed
    words += ["--inversion-seed", str(seed)] if seed else []
    return words + ([] if form.fit == "crop" else ["--fit", form.fit])


def _where(form: Form) -> list[str]:
    if form.where == "everywhere":
        return []
    words = ["--mask", MASK] if form.where == "painted" else ["--auto-mask"]
    return words + (["--feather", str(form.feather)] if form.feather else [])


def _source(form: Form, picture: str | None, how: str) -> str:
    """The line that makes the source."""
    given: dict[str, object] = {"num_inference_steps": form.steps}
    if source_guidance(form) is not None:
        given["guidance_scale"] = form.guidance_scale
    if form.negative_prompt:
        given["negative_prompt"] = form.negative_prompt
    if form.case == "picture" and form.fit != "crop":
        given["fit"] = form.fit
    settings = ", ".join(f"{name}={value!r}" for name, value in given.items())
    if form.case == "prompt":
        return f"source = editor.generate({form.source_prompt!r}, {form.seed}, {settings})"
    name = Path(picture or "picture.png").name
    shown = f"Image.open({name!r}), {form.source_prompt!r}, {how}"
    return f"source = editor.invert({shown}, {settings})"


def _steering(form: Form) -> dict[str, object]:
    window: dict[str, object] = {"t_max": form.t_max, "t_m": form.t_m}
    by = {"strength": form.strength} if form.steer == "strength" else window
    negative = {"negative_prompt": form.negative_prompt} if form.negative_prompt else {}
    return {
        "variant": form.variant, **by, "schedule": form.schedule,
        "guidance_scale": form.guidance_scale, **negative,
    }  # fmt: skip


def _called(how: Inversion) -> str:
    return f"Inversion({how.method!r}, seed={how.seed})"
