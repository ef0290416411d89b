"""The form that made a picture, read from the settings inside its PNG."""

from pathlib import Path
from typing import Any

from mdp_lite.app.form import Form, bounded, filled
from mdp_lite.names import VARIANTS
from mdp_lite.pictures import images

ELSEWHERE = ("proximal", "deadline")  # settings of an edit that the page has no field for
SHARED = ("negative_prompt", "schedule", "strength", "t_max", "t_m", "feather", "where")


def restored(path: str | None, now: Form, model: str) -> tuple[Form, list[str]]:
    """The form of a picture that mdp_lite made, over the form as it is now, and what it leaves out.

    A picture is material of strangers: what it says is checked like what a visitor says.
    """
    if path is None:
        raise ValueError("give a PNG that mdp_lite made")
    settings = images.read_settings(path, Path(path).name)
    form = filled(now, _read(settings, now))
    return bounded(form), _left_out(settings, form, model)


def _read(settings: dict[str, Any], now: Form) -> dict[str, Any]:
    """What the settings say of the form's fields."""
    made = settings.get("method") == "generate"
    found = {name: settings[name] for name in SHARED if name in settings}
    found |= {"case": "prompt" if made else "picture", "seed": _seed(settings, made)}
    found |= {"steps": settings.get("num_inference_steps", now.steps)}
    found |= {"guidance_scale": settings.get("guidance_scale", now.guidance_scale)}
    if not made:
        found |= {"method": settings.get("method", now.method), "fit": settings.get("fit", now.fit)}
    if "variant" not in settings:  # a source alone
        return found | {"source_prompt": settings.get("prompt", "")}
    variant = settings["variant"]
    found["variant"] = variant if variant in VARIANTS else now.variant  # "all" is four pictures
    found |= {name: settings.get(name, "") for name in ("prompt", "source_prompt")}
    window = "t_max" in settings or "t_m" in settings
    found.setdefault("schedule", "constant" if window else Form.schedule)
    found["steer"] = "window" if window and "strength" not in settings else "strength"
    if found["steer"] == "strength":
        found["strength"] = settings.get("strength", 0.5)  # the default window
    return found


def _seed(settings: dict[str, Any], made: bool) -> Any:
    inverted = settings.get("inversion")
    inner = inverted.get("seed") if isinstance(inverted, dict) else None
    seed = settings.get("seed") if made else inner
    return 0 if seed is None else seed


def _left_out(settings: dict[str, Any], form: Form, model: str) -> list[str]:
    found = [name for name in ELSEWHERE if name in settings]
    told = [f"{name} is not on this page and was left out." for name in found]
    if settings.get("variant") == "table":
        told.append("It was made by a table of weights, which this page has no place for.")
    elif settings.get("variant", "all") not in (*VARIANTS, "all"):
        told.append(f"It was made by {settings['variant']!r:.80}, which this page can't do alone.")
    if form.where == "painted":
        told.append("Paint the mask again: a picture does not hold it.")
    if form.case == "picture":
        told.append("Give the picture that was edited: it is not in its result.")
    if settings.get("model", model) != model:
        told.append(
            f"It was made with the model {settings['model']!r:.80}, this page has {model!r}."
        )
    return told
