"""Requests that take much memory: KINDS of them, each for one attack at once."""

import base64
import io
import time
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import httpx2
import numpy as np
from PIL import Image

EDIT = {"prompt": "a tent", "num_inference_steps": "2"}
WAIT = 600.0
Send = Callable[[httpx2.Client], int]  # one request; its status


def file_of(image: Image.Image, kind: str = "PNG", **more: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **more)
    return out.getvalue()


def noise(width: int, height: int, bands: int = 3) -> np.ndarray:
    shape = (height, width, bands) if bands > 1 else (height, width)
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


@cache
def solid() -> bytes:
    return file_of(Image.new("RGB", (4096, 4096), "red"))


@cache
def photo() -> bytes:
    """12 megapixels."""
    small = Image.fromarray(noise(250, 188))
    return file_of(small.resize((4000, 3000), Image.Resampling.BICUBIC), "JPEG", quality=90)


@cache
def large() -> bytes:
    """A PNG of noise that just fits a body."""
    return file_of(Image.fromarray(noise(2700, 2700)), compress_level=1)


@cache
def odd_files() -> dict[str, bytes]:
    """Files of kinds that take more memory to read than others."""
    side = 4096
    grey = Image.fromarray(noise(side // 8, side // 8, 1)).resize((side, side))
    colours = Image.fromarray(noise(side // 8, side // 8)).resize((side, side), 0)
    palette = colours.quantize(64)
    palette.info["transparency"] = bytes(range(0, 256, 4))
    clear = colours.copy()
    clear.putalpha(grey)
    turned = Image.Exif()
    turned[0x0112] = 6
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    frames = [Image.new("RGB", (4000, 4000), one) for one in ("red", "blue", "green")]
    return {
        "deep": file_of(deep),
        "cmyk": file_of(colours.convert("CMYK"), "JPEG", quality=60),
        "palette": file_of(palette),
        "clear": file_of(clear),
        "turned": file_of(clear, exif=turned),
        "webp": file_of(clear, "WEBP", quality=20, method=0),
        "gif": file_of(frames[0], "GIF", save_all=True, append_images=frames[1:]),
        "moving webp": file_of(frames[0], "WEBP", save_all=True, append_images=frames[1:]),
    }


def post_form(files: list[tuple[str, bytes]], **fields: str) -> Send:
    """An edit of these files."""
    some = [(name, ("a", data, "application/octet-stream")) for name, data in files]
    data = EDIT | fields
    return lambda client: client.post("/v1/images/edits", data=data, files=some).status_code


def post_raw(path: str, content: bytes, kind: str) -> Send:
    """A body as it is."""
    headers = {"Content-Type": kind}
    return lambda client: client.post(path, content=content, headers=headers).status_code


def post_json(path: str, body: Any) -> Send:
    """A JSON object."""
    return lambda client: client.post(path, json=body).status_code


def read_slowly(files: list[tuple[str, bytes]], seconds: float, **fields: str) -> Send:
    """An edit whose answer is not read for some seconds."""
    some = [(name, ("a", data, "application/octet-stream")) for name, data in files]

    def send(client: httpx2.Client) -> int:
        with client.stream("POST", "/v1/images/edits", data=EDIT | fields, files=some) as answer:
            time.sleep(seconds if answer.status_code == 200 else 0)
            sum(len(part) for part in answer.iter_raw())
            return answer.status_code

    return send


def multipart(parts: Iterator[tuple[str, bytes]]) -> tuple[bytes, str]:
    """A form of texts, and its type."""
    head = b'--x\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n'
    body = b"".join(head % (name.encode(), text) for name, text in parts)
    return body + b"--x--\r\n", "multipart/form-data; boundary=x"


def texts() -> list[Send]:
    """Bodies of 24 MiB that are texts."""
    size, edits = 24 * 2**20 - 2000, "/v1/images/edits"
    emoji = "\U0001f600".encode() + b"a" * (size - 4)
    many = multipart((f"f{k}", b"\xf0\x9f\x98\x80" + b"a" * 24_000) for k in range(1000))
    one = multipart(iter([("prompt", emoji)]))
    urlencoded = "application/x-www-form-urlencoded"
    kinds = [
        post_raw(edits, *one), post_raw(edits, *many),
        post_raw("/v1/sources", b"prompt=" + b"%61" * (size // 3), urlencoded),
        post_raw("/v1/sources", b"%41" * (size // 3), urlencoded),
        post_raw("/v1/images/generations", b'{"a":[' + b"{}," * (size // 3 - 9) + b"{}]}",
                 "application/json"),
        post_raw("/v1/image-to-image", b'{"inputs":[' + b"{}," * (size // 3 - 9) + b"{}]}",
                 "application/json"),
        post_raw("/v1/image-to-image", b'{"inputs":"' + b"aaaa " * (size // 5 - 9) + b'"}',
                 "application/json"),
        post_raw("/v1/image-to-image", b'{"inputs":"' + emoji[:-99] + b'"}', "application/json"),
    ]  # fmt: skip
    return kinds * 3


def fields() -> list[Send]:
    """Forms of 1,000 fields, and one of more."""
    some = [multipart((f"f{k}", b"1") for k in range(count)) for count in (1000, 1001)]
    return [post_raw("/v1/images/edits", *one) for one in some] * 20


def sweeps(url: str) -> list[Send]:
    """64 sweeps of 16 pictures, half of them of a source of 12 megapixels."""
    names = []
    for size in ("auto", "64x64"):
        with httpx2.Client(base_url=url, timeout=WAIT) as client:
            data = {"source_prompt": "a house", "num_inference_steps": "2", "size": size}
            answer = client.post("/v1/sources", data=data, files={"image": ("a", photo())})
            names.append(answer.json()["id"])
    prompts = [f"a tent {k}" for k in range(4)]
    body = {"prompts": prompts, "variants": ["c", "x"], "guidance_scales": [2.0, 3.0]}
    return [post_json("/v1/sweeps", body | {"source": names[k % 2]}) for k in range(64)]


def generations() -> list[Send]:
    """Ten pictures each, of the largest size and of one that is refused."""
    body = {"prompt": "a house", "n": 10, "num_inference_steps": 1}
    sizes = ("128x128", "1024x1024")
    return [post_json("/v1/images/generations", body | {"size": sizes[k % 2]}) for k in range(20)]


def odd_requests() -> list[Send]:
    """Files of many kinds as pictures, as masks, and as base64."""
    found = odd_files()
    sends = [post_form([("image", data)]) for data in found.values()]
    sends += [post_form([("image", data)], size="64x64") for data in found.values()]
    sends += [post_form([("image", found["clear"]), ("mask", found["clear"])], feather="9")]
    sends += [post_form([("image", solid()), ("mask", found["deep"])], feather="9")]
    sends += [post_form([("image", solid())], mask_auto="true", output_format="webp")]
    sends += [post_form([("image", solid())], inversion="edit-friendly", n="3")]
    inputs = base64.b64encode(found["cmyk"]).decode()
    body = {"inputs": inputs, "parameters": {"prompt": "a tent", "num_inference_steps": 2}}
    return [*sends, post_json("/v1/image-to-image", body)]


def slow_readers() -> list[Send]:
    """Answers of 29 MB that are read after some seconds, as JSON and as streams."""
    sends = [read_slowly([("image", large())], 8) for _ in range(16)]
    events = {"stream": "true", "partial_images": "1"}
    return sends + [read_slowly([("image", large())], 8, **events) for _ in range(8)]


# What each kind sends to a server at an address.
KINDS: dict[str, Callable[[str], list[Send]]] = {
    "12 x 4 solid": lambda url: [post_form([("image[]", solid())] * 4) for _ in range(12)],
    "200 uploads": lambda url: [post_form([("image", photo())]) for _ in range(200)],
    "texts": lambda url: texts(),
    "fields": lambda url: fields(),
    "sweeps": sweeps,
    "generations": lambda url: generations(),
    "odd kinds": lambda url: odd_requests(),
    "slow readers": lambda url: slow_readers(),
}
