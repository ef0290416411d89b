"""Checks of an entry's settings that need no picture, so that bad entries cost nothing."""

import io

from mdp_lite.batch.entries import SourceSpec, TargetSpec
from mdp_lite.cli.xl import check_xl
from mdp_lite.editor import Editor
from mdp_lite.names import BadInput
from mdp_lite.pictures import images
from mdp_lite.pipeline import check
from mdp_lite.pipeline.directions import check_guidance_every
from mdp_lite.pipeline.inversion_methods import resolve_inversion
from mdp_lite.pipeline.masks import MaskSpec
from mdp_lite.pipeline.noise import will_record_noise
from mdp_lite.pipeline.request import build_weights


def check_settings(editor: Editor, source: SourceSpec, target: TargetSpec) -> None:
    """Raise BadInput for settings that are wrong whatever the picture is."""
    runner = editor.runner
    n = len(runner.grid(source.steps).t)
    method = None if source.image is None else source.method
    noisy = will_record_noise(editor.models.scheduler, method, source.record_noise)
    build_weights(
        n, editor.models.defaults, target.variant, target.t_max, target.t_m, target.schedule,
        target.strength, target.weight, noisy,
    )  # fmt: skip
    runner.guidance_scale(target.guidance_scale)
    resolve_inversion(source.inversion, n)
    if source.seed is not None:
        check.seed(source.seed)
    if source.fit != "own":
        runner.image_size(source.width, source.height)
    check_guidance_every(target.guidance_every)
    if target.proximal is not None:
        check.quantile("proximal", target.proximal)
    _check_mask(target)
    config, negative = editor.models.unet.config, source.negative_prompt
    check_xl(config, source.xl, source.source_prompt, negative, "source_prompt_2")
    check_xl(config, target.xl, target.prompt, negative)


def read_mask(target: TargetSpec, files: dict[str, bytes]) -> MaskSpec | None:
    """The mask of an edit; None means that all of the picture is edited."""
    if target.mask is not None:
        content = io.BytesIO(files[target.mask])
        return images.decode_picture(content, repr(target.mask), what="mask")
    if target.box is not None:
        x0, y0, x1, y1 = target.box
        return (x0, y0, x1, y1)
    return "auto" if target.auto_mask else None


def _check_mask(target: TargetSpec) -> None:
    kinds = [target.mask is not None, target.box is not None, target.auto_mask]
    if sum(kinds) > 1:
        raise BadInput("mask, box and auto_mask say the same thing: give one of them")
    if check.feather(target.feather) and not any(kinds):
        raise BadInput("feather needs a mask: give mask, box or auto_mask")
