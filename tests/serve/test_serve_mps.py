"""The service with its models on a rehearsed Apple GPU: sources, edits, previews."""

import base64
from pathlib import Path

from mdp_lite import Editor
from support.apple import apple_gpu
from support.inverting import picture
from support.serving import file_of, is_idle, open_client, read_image, run_service, wait_until

FORM = {"source_prompt": "a red house", "num_inference_steps": "2"}


def test_a_source_and_an_edit(checkpoint: Path) -> None:
    with apple_gpu():
        editor = Editor.from_pretrained(checkpoint, "mps")
        with run_service(editor) as at, open_client(at) as client:
            assert at.service.batcher.max_rows > 0  # steps of several requests share a call
            files = {"image": file_of(picture())}
            made = client.post("/v1/sources", data=FORM, files=files)
            assert made.status_code == 200, made.text
            target = {"prompt": "a blue boat", "variant": "x"}
            answer = client.post(f"/v1/sources/{made.json()['id']}/edits", json=target)
            assert answer.status_code == 200, answer.text
            content = base64.b64decode(answer.json()["data"][0]["b64_json"])
            assert read_image(content).size == (32, 32)
            wait_until(lambda: is_idle(at.service))
