"""The memory that a server needs, before it serves."""

from mdp_lite.editor import Editor
from mdp_lite.engine import flops
from mdp_lite.engine.estimate import estimate
from mdp_lite.method.plan import naive_plan
from mdp_lite.method.schedule import zero_weights


def estimate_peak(editor: Editor, rows: int) -> int:
    """The bytes of the model and of its largest call, in pictures of the model's size.

    rows: the most UNet rows of a call, at least the 2 of guidance.
    """
    models, (width, height) = editor.models, editor.runner.size
    plan = naive_plan(zero_weights(models.defaults.num_inference_steps), True)
    edit = estimate(models, plan, height, width)
    y, x = (side // editor.runner.factor for side in (height, width))
    tokens, dtype = models.text_encoder.config.max_position_embeddings, models.origin.dtype
    wide = flops.unet(models.unet.config, y, x, max(rows, 2), tokens, dtype).peak_bytes
    return edit.weight_bytes + edit.path_bytes + max(edit.activation_bytes, wide)
