"""The same edit elsewhere: as a command for the shell, and as Python."""

import shlex
from pathlib import Path

from mdp_lite.app.form import (
    XL_FIELDS,
    EditForm,
    build_form_xl,
    inversion_of,
    schedule_of,
    source_guidance,
)
from mdp_lite.app.runs import MASK_FILE
from mdp_lite.cli.xl import name_option
from mdp_lite.names import DEFAULT_MODEL
from mdp_lite.pipeline.inversion_methods import DEFAULT_METHOD, Inversion
from mdp_lite.pipeline.xl import PLAIN, XLCondition


def shell_command(form: EditForm, picture: str | None, model: str, clip_skip: int = 0) -> str:
    """The mdp-lite command that makes the same picture."""
    words = ["mdp-lite", "edit"]
    if form.case == "picture":
        words += [Path(picture or "picture.png").name]
    words += ["--source-prompt", form.source_prompt, "--prompt", form.prompt]
    words += ["--steps", str(form.steps), "--guidance-scale", str(form.guidance_scale)]
    if form.case == "prompt":
        words += ["--seed", str(form.seed)]
    else:
        words += _inversion_options(form)
    if form.negative_prompt:
        words += ["--negative-prompt", form.negative_prompt]
    words += ["--variant", form.variant]
    words += ["--schedule", form.schedule] if schedule_of(form) else []
    if form.steer == "strength":
        words += ["--strength", str(form.strength)]
    else:
        words += ["--t-max", str(form.t_max), "--t-m", str(form.t_m)]
    words += _mask_options(form)
    texts = {name: getattr(form, name) for name in XL_FIELDS}
    words += [word for name, text in texts.items() if text for word in (name_option(name), text)]
    words += [] if model == DEFAULT_MODEL else ["--model", model]
    words += ["--clip-skip", str(clip_skip)] if clip_skip else []
    return shlex.join([*words, "-o", "edited.png"])


def python_code(form: EditForm, picture: str | None, model: str, clip_skip: int = 0) -> str:
    """Python code that makes the same picture."""
    loaded = [] if model == DEFAULT_MODEL else [repr(model)]
    loaded += [f"clip_skip={clip_skip}"] if clip_skip else []
    masked = form.where == "painted"
    imports = ["from PIL import Image", ""] if form.case == "picture" or masked else []
    edit = ", ".join(f"{key}={value!r}" for key, value in _edit_arguments(form).items())
    if masked:
        edit += f", mask=Image.open({MASK_FILE!r}), feather={form.feather}"
    elif form.where == "found":
        edit += f", mask='auto', feather={form.feather}"
    inversion, invert = inversion_of(form), form.case == "picture"
    plain = inversion == Inversion(inversion.method) or inversion.seed == 0
    extra = (
        [] if plain or not invert else ["from mdp_lite.pipeline.inversion_methods import Inversion"]
    )
    lines = [
        *imports,
        "from mdp_lite import Editor" + (", XLCondition" if _reads_more(form) else ""),
        *extra,
        "",
        f"editor = Editor.from_pretrained({', '.join(loaded)})",
        _source_code(form, picture, repr(inversion.method) if plain else _to_code(inversion)),
        f"edit = editor.edit(source, {form.prompt!r}, {edit}{_xl_argument(build_form_xl(form))})",
        'edit.picture.save("edited.png")',
    ]
    return "\n".join(lines)


def _inversion_options(form: EditForm) -> list[str]:
    words = [] if form.method == DEFAULT_METHOD else ["--method", form.method]
    seed = inversion_of(form).seed
    words += ["--inversion-seed", str(seed)] if seed else []
    return words + ([] if form.fit == "crop" else ["--fit", form.fit])


def _mask_options(form: EditForm) -> list[str]:
    if form.where == "everywhere":
        return []
    words = ["--mask", MASK_FILE] if form.where == "painted" else ["--auto-mask"]
    return words + (["--feather", str(form.feather)] if form.feather else [])


def _source_code(form: EditForm, picture: str | None, method: str) -> str:
    """The line of code that makes the source."""
    arguments: dict[str, object] = {"num_inference_steps": form.steps}
    if source_guidance(form) is not None:
        arguments["guidance_scale"] = form.guidance_scale
    if form.negative_prompt:
        arguments["negative_prompt"] = form.negative_prompt
    if form.case == "picture" and form.fit != "crop":
        arguments["fit"] = form.fit
    settings = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
    settings += _xl_argument(build_form_xl(form, "source_prompt_2"))
    if form.case == "prompt":
        return f"source = editor.generate({form.source_prompt!r}, {form.seed}, {settings})"
    name = Path(picture or "picture.png").name
    first = f"Image.open({name!r}), {form.source_prompt!r}, {method}"
    if form.where == "painted":
        settings += f", mask=Image.open({MASK_FILE!r})"  # only an inpainting model reads it here
    return f"source = editor.invert({first}, {settings})"


def _edit_arguments(form: EditForm) -> dict[str, object]:
    window: dict[str, object] = {"t_max": form.t_max, "t_m": form.t_m}
    by = {"strength": form.strength} if form.steer == "strength" else window
    negative = {"negative_prompt": form.negative_prompt} if form.negative_prompt else {}
    return {
        "variant": form.variant, **by, **({"schedule": form.schedule} if schedule_of(form) else {}),
        "guidance_scale": form.guidance_scale, **negative,
    }  # fmt: skip


def _reads_more(form: EditForm) -> bool:
    return any(build_form_xl(form, one) != PLAIN for one in ("prompt_2", "source_prompt_2"))


def _xl_argument(xl: XLCondition) -> str:
    """The argument for what SDXL reads beside the prompts, or nothing for its defaults."""
    values = ", ".join(f"{k}={v!r}" for k, v in vars(xl).items() if v is not None)
    return f", xl=XLCondition({values})" if values else ""


def _to_code(inversion: Inversion) -> str:
    return f"Inversion({inversion.method!r}, seed={inversion.seed})"
