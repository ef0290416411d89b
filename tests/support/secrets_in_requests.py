"""Requests that hold a mark in every place where a client may write something."""

import io
from collections.abc import Callable
from typing import Any

from PIL import Image, PngImagePlugin

from support.inverting import picture
from support.serving import KEY

MARK = "zqsecret"  # in every secret, in one spelling or another
LONG = " ".join([MARK] * 100)  # more than the model reads, so that it is cut
EDITS, GENERATIONS, SOURCES = "/v1/images/edits", "/v1/images/generations", "/v1/sources"
STEPS = {"num_inference_steps": "1"}
Sent = tuple[str, str, dict[str, Any]]


def marked_png() -> bytes:
    """A PNG whose text has the mark."""
    out, text = io.BytesIO(), PngImagePlugin.PngInfo()
    text.add_text("Comment", MARK)
    text.add_itxt("XML:com.adobe.xmp", MARK)
    picture().save(out, "PNG", pnginfo=text)
    return out.getvalue()


def marked_jpeg(damaged: bool = False) -> bytes:
    """A JPEG whose EXIF has the mark, and points past its end if it is damaged."""
    exif = Image.Exif()
    exif[0x010E], exif[0x013B], exif[0x0112] = MARK, MARK, 6
    data, out = exif.tobytes(), io.BytesIO()
    if damaged:
        data = data[: len(data) // 2] + MARK.encode() * 3
    picture().save(out, "JPEG", exif=data, comment=MARK.encode())
    return out.getvalue()


def list_requests() -> list[Sent]:
    """Method, path and what httpx sends, of requests that are answered, right or wrong."""
    png, jpeg, name = marked_png(), marked_jpeg(), f"{MARK}.png"
    texts = {"prompt": f"a {MARK}", "source_prompt": MARK, "negative_prompt": MARK} | STEPS
    body = {"prompt": f"a {MARK}", "num_inference_steps": 1}
    image = {"Content-Type": f"image/{MARK}"}
    bearer, plain = f"Bearer {MARK * 3}", {"Content-Type": "application/json"}
    form = {"Content-Type": f"multipart/form-data; boundary={MARK}"}
    headers = {
        "User-Agent": MARK, "Cookie": f"id={MARK}", "Referer": f"http://x/{MARK}", "X-Own": MARK,
        "tracestate": f"a={MARK}", "traceparent": MARK, "x-request-id": f"not a word {MARK}",
    }  # fmt: skip
    post: Callable[..., Sent] = lambda path, **more: ("POST", path, more)  # noqa: E731
    return [
        post(EDITS, data=texts, files={"image": (name, png), "mask": (name, png)}),
        post(EDITS, data=texts | {"prompt": LONG}, files={"image": (name, jpeg, MARK)}),
        post(EDITS, data=texts, files={"image": (name, marked_jpeg(True))}),
        post(EDITS, data=texts, files={"image": (name, MARK.encode())}),
        post(EDITS, data=texts, files={"image": (name, png[:-30])}),
        post(EDITS, data=texts, files={MARK: (MARK, png)}),
        post(EDITS, data=texts | {MARK: MARK}, files={"image": png}),
        post(EDITS, data=texts | {"image": f"http://{MARK}.example/a.png"}),
        post(EDITS, data=texts | {"size": MARK}, files={"image": png}),
        post(EDITS, data=texts | {"webhook": f"http://{MARK}.example"}, files={"image": png}),
        post(EDITS, content=f"--{MARK}\r\n{MARK}: {MARK}\r\n\r\n{MARK}".encode(), headers=form),
        post(f"{EDITS}?{MARK}={MARK}", data=texts, files={"image": png}),
        post(GENERATIONS, json=body, headers=headers),
        post(GENERATIONS, json=body | {"user": MARK, "quality": MARK}),
        post(GENERATIONS, json=body | {"stream": True, "partial_images": 2}),
        post(GENERATIONS, json=body | {"edit_prompt": LONG, "negative_prompt": MARK}),
        post(GENERATIONS, json=body | {"model": MARK}),
        post(GENERATIONS, json=body | {"seed": MARK, MARK: {MARK: MARK}}),
        post(GENERATIONS, json=body, headers={"Authorization": bearer}),
        post(GENERATIONS, json=body, headers={"Origin": f"http://{MARK}.example"}),
        post(GENERATIONS, content=f'{{"{MARK}": {MARK}', headers=plain),
        post(GENERATIONS, content=MARK.encode(), headers={"Content-Type": MARK}),
        post(GENERATIONS, content=b'{"prompt": "\xff' + MARK.encode(), headers=plain),
        post("/v1/image-to-image", content=MARK.encode(), headers=image),
        post("/v1/image-to-image", json={"inputs": MARK, "parameters": {"prompt": MARK}}),
        post(SOURCES, data=STEPS | {"source_prompt": MARK}),
        post(f"{SOURCES}/{MARK}/edits", json={"prompt": MARK}),
        post("/v1/sweeps", json={"source": MARK, "prompts": [MARK]}),
        ("GET", f"{SOURCES}/{MARK}", {}), ("DELETE", f"{SOURCES}/{MARK}", {}),
        ("GET", f"/v1/models/{MARK}", {}), ("GET", f"/v1/{MARK}/../{MARK}?{MARK}", {}),
        (MARK.upper(), GENERATIONS, {}), ("GET", f"/%00{MARK}", {}),
    ]  # fmt: skip


def list_raw_requests() -> list[bytes]:
    """Bytes that are no request, or a part of one whose client then leaves."""
    start = f"POST {EDITS} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEY}\r\n".encode()
    mark = MARK.encode()
    return [
        mark + b"\r\n\r\n",
        b"GET /" + mark + b" HTTP/9.9\r\n\r\n",
        start + b"X-" + mark + b": \x00" + mark + b"\r\n\r\n",
        start + b"Content-Length: " + mark + b"\r\n\r\n",
        start + b"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 500\r\n\r\n--b"
        b'\r\nContent-Disposition: form-data; name="' + mark + b'"\r\n\r\n' + mark,
        start + b"Transfer-Encoding: chunked\r\n\r\n" + mark + b"\r\n",
    ]  # fmt: skip
