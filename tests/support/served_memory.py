"""The memory of a process that serves an edit, as the operating system counts it.

`python tests/support/served_memory.py serve|app SIDE STEPS` prints what the dry run states and what
was most resident, as JSON. It needs Linux.
"""

import json
import sys
import tempfile
from pathlib import Path

from mdp_lite.editor import Editor
from support.memory import resident_bytes


def serve_edit(editor: Editor, side: int, steps: int) -> int:
    """Run one edit through the service; what its dry run states."""
    from PIL import Image

    from mdp_lite.serve.facts import estimate_service
    from mdp_lite.serve.settings import Limits, ServiceSettings
    from support.serving import file_of, open_client, run_service

    limits = Limits(side=side, steps=steps)
    with run_service(editor, limits=limits) as at, open_client(at) as client:
        fields = {"prompt": "a house", "size": f"{side}x{side}", "num_inference_steps": str(steps)}
        files = {"image": ("a.png", file_of(Image.new("RGB", (side, side))), "image/png")}
        answer = client.post("/v1/images/edits", data=fields, files=files)
        assert answer.status_code == 200, answer.text
    return estimate_service(editor, ServiceSettings(limits=limits), False).peak_bytes


def show_page(editor: Editor, steps: int) -> int:
    """Serve the page, and run an edit; what its dry run states."""
    from mdp_lite.app.command import estimate_page, launch
    from mdp_lite.app.studio import Studio

    with tempfile.TemporaryDirectory() as folder:
        studio = Studio(editor, Path(folder))
        studio.warm_up()
        blocks = launch(studio, "127.0.0.1", None)
        editor.edit(editor.generate("a house", 1, steps), "a tent")
        blocks.close(verbose=False)
    return estimate_page(editor).peak_bytes


if __name__ == "__main__":
    what, side, steps = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    editor = Editor.from_pretrained("tiny", device="cpu")
    said = serve_edit(editor, side, steps) if what == "serve" else show_page(editor, steps)
    print(json.dumps({"said": said, "peak": resident_bytes("VmHWM")}))
