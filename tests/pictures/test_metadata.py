"""Metadata never refuses a sound picture; other formats, large pictures and damage say what to do.

The kinds: chunks and segments that Pillow refuses or can't parse (too large once unpacked, wrong
checksums, broken EXIF), in each format; files of phones that are no PNG, JPEG or WebP; pictures of
many megapixels; and any of them with flipped or missing bytes.
"""

import io
import struct
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from mdp_lite import BadInput, Editor
from mdp_lite.pictures import images
from support import profiles

PICTURE = Image.effect_noise((24, 16), 60).convert("RGB")
WORKFLOW = b'{"nodes": "' + b"x" * 3_000_000 + b'"}'
P3 = profiles.rgb_profile(profiles.DISPLAY_P3, "Display P3")


def chunk(kind: bytes, body: bytes, checksum: int | None = None) -> bytes:
    checksum = zlib.crc32(kind + body) if checksum is None else checksum
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum)


def png(*chunks: bytes, picture: Image.Image = PICTURE) -> bytes:
    """A PNG with these chunks after its header."""
    out = io.BytesIO()
    picture.save(out, "PNG")
    data = out.getvalue()
    return data[:33] + b"".join(chunks) + data[33:]


def decode(data: bytes) -> Image.Image:
    return images.rgb(images.decode_picture(io.BytesIO(data), "'a'"))


packed = zlib.compress
HARMLESS = {
    "zTXt of 3 MB": chunk(b"zTXt", b"workflow\0\0" + packed(WORKFLOW)),
    "iTXt of 3 MB": chunk(b"iTXt", b"prompt\0\1\0\0\0" + packed(WORKFLOW)),
    "tEXt of 3 MB": chunk(b"tEXt", b"workflow\0" + WORKFLOW),
    "70 MB of texts": chunk(b"tEXt", b"parameters\0" + b"x" * 35_000_000) * 2,
    "our texts, packed, of 3 MB": chunk(b"zTXt", b"mdp_lite\0\0" + packed(WORKFLOW)),
    "XMP of 3 MB": chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + WORKFLOW),
    "XMP, packed": chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + packed(WORKFLOW)),
    "EXIF of 3 MB": chunk(b"eXIf", WORKFLOW),
    "broken EXIF": chunk(b"eXIf", b"II*\0\xff\xff\xff\xff"),
    "empty EXIF": chunk(b"eXIf", b""),
    "wrong checksum": chunk(b"tEXt", b"parameters\0a", 1),
    "unknown packing": chunk(b"zTXt", b"parameters\0\7abc"),
    "text without a name": chunk(b"tEXt", b"\0\0\0"),
    "packed junk": chunk(b"zTXt", b"parameters\0\0junk"),
    "a profile of 20 MB": chunk(b"iCCP", b"p\0\0" + packed(P3 + bytes(20_000_000))),
    "a profile, packed by an unknown way": chunk(b"iCCP", b"p\0\7" + packed(P3)),
    "an empty profile": chunk(b"iCCP", b""),
    "short sRGB": chunk(b"sRGB", b""),
    "short pHYs": chunk(b"pHYs", b"\0"),
    "odd cHRM": chunk(b"cHRM", b"\0\0\0"),
    "short gAMA": chunk(b"gAMA", b"\0"),
    "broken animation control": chunk(b"acTL", b"\0", 7),
    "unknown": chunk(b"abCd", b"x" * 5_000_000),
}


@pytest.mark.parametrize("chunks", HARMLESS.values(), ids=HARMLESS)
def test_metadata_never_refuses_a_png(chunks: bytes) -> None:
    assert decode(png(chunks)).tobytes() == PICTURE.tobytes()


def test_a_large_profile_is_read() -> None:
    """Pillow's limit is 1 MiB; profiles of printers are larger."""
    noise = np.random.default_rng(0).bytes(3_000_000)  # an unused tail, which lcms allows
    found = decode(png(chunk(b"iCCP", b"p\0\0" + packed(P3 + noise))))
    assert images.describe_changes(found) == ("its colours were converted from Display P3 to sRGB",)


def test_a_packed_text_that_unpacks_to_300_megabytes_takes_no_memory() -> None:
    bomb = zlib.compressobj(9)
    body = b"".join(bomb.compress(bytes(10_000_000)) for _ in range(30)) + bomb.flush()
    for kind, head in ((b"zTXt", b"mdp_lite\0\0"), (b"iCCP", b"p\0\0")):
        assert decode(png(chunk(kind, head + body))).tobytes() == PICTURE.tobytes()


def test_pillow_s_limits_stay_for_others() -> None:
    limits = PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY, Image.MAX_IMAGE_PIXELS
    data = png(HARMLESS["zTXt of 3 MB"])
    threads = [threading.Thread(target=decode, args=(data,)) for _ in range(4)]
    for one in threads:
        one.start()
    with pytest.raises(ValueError, match="Decompressed data too large"):
        Image.open(io.BytesIO(data))
    for one in threads:
        one.join()
    after = PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY, Image.MAX_IMAGE_PIXELS
    assert after == limits


def test_settings_beside_a_large_workflow_are_read(tmp_path: Path) -> None:
    images.save_png(PICTURE, tmp_path / "a.png", {"prompt": "a house"})
    data = (tmp_path / "a.png").read_bytes()
    (tmp_path / "b.png").write_bytes(data[:33] + HARMLESS["zTXt of 3 MB"] + data[33:])
    assert images.read_settings(tmp_path / "b.png") == {"prompt": "a house"}


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


SEGMENTS = {
    "broken EXIF": segment(0xE1, b"Exif\0\0II*\0\xff\xff\xff\x7f"),
    "EXIF of junk": segment(0xE1, b"Exif\0\0" + b"\xee" * 60_000),
    "broken second picture": segment(0xE2, b"MPF\0II*\0\xff\xff\xff\x7f"),
    "many XMP parts": segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + b"x" * 60_000) * 40,
    "broken Photoshop data": segment(0xED, b"Photoshop 3.0\0" + b"8BIM\4\4\xff" * 50),
    "half a profile": segment(0xE2, b"ICC_PROFILE\0\1\2" + P3[:200]),
    "comments": segment(0xFE, b"c" * 65_000) * 20,
}


@pytest.mark.parametrize("body", SEGMENTS.values(), ids=SEGMENTS)
def test_metadata_never_refuses_a_jpeg(body: bytes) -> None:
    out = io.BytesIO()
    PICTURE.save(out, "JPEG")
    data = out.getvalue()
    assert decode(data[:2] + body + data[2:]).tobytes() == decode(data).tobytes()


@pytest.mark.parametrize("key", ["exif", "xmp"])
@pytest.mark.parametrize("size", [0, 10, 3_000_000])
def test_metadata_never_refuses_a_webp(key: str, size: int) -> None:
    out = io.BytesIO()
    PICTURE.save(out, "WEBP", lossless=True, **{key: b"\xee" * size})
    assert decode(out.getvalue()).tobytes() == PICTURE.tobytes()


OTHERS = {
    "HEIC": (b"\0\0\0\x18ftypheic\0\0\0\0", b"\0\0\0\x18ftypheix", b"\0\0\0\x1cftyphevc"),
    "AVIF": (b"\0\0\0\x18ftypavif\0\0\0\0", b"\0\0\0\x18ftypavis", b"\0\0\0\x20ftypavif"),
    "TIFF": (b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08", b"II*\0CR\2\0"),
    "JPEG XL": (b"\xff\x0a\0\0", b"\0\0\0\x0cJXL \r\n\x87\n", b"\xff\x0a\xff\xff"),
}


@pytest.mark.parametrize(("kind", "heads"), OTHERS.items())
def test_other_formats_are_refused_with_advice(
    kind: str, heads: tuple[bytes, ...], tmp_path: Path
) -> None:
    for head in heads:
        (tmp_path / "a.jpg").write_bytes(head + bytes(100))
        with pytest.raises(BadInput, match=f"it is {kind}.*: save it as JPEG or PNG first"):
            images.open_picture(tmp_path / "a.jpg")


@pytest.mark.representative("size0")
@pytest.mark.parametrize("size", [(5616, 3744), (3744, 5616), (8000, 2700)])
def test_a_photo_of_21_megapixels_is_edited_at_its_size(
    editor: Editor, size: tuple[int, int], tmp_path: Path
) -> None:
    photo = PICTURE.resize(size)
    photo.save(tmp_path / "a.jpg", quality=30)
    source = editor.invert(str(tmp_path / "a.jpg"), "a house", num_inference_steps=1)
    assert source.picture.size == size
    edit = editor.edit(source, "a red house", mask=(0, 0, size[0] // 2, size[1]))
    assert edit.picture.size == size
    right = (size[0] // 2, 0, *size)
    assert edit.picture.crop(right).tobytes() == source.picture.crop(right).tobytes()


@pytest.mark.parametrize("size", [(8001, 8000), (64_000_001, 1), (9000, 9000)])
def test_too_many_pixels_are_refused_in_megapixels(size: tuple[int, int]) -> None:
    with pytest.raises(BadInput, match="image must have at most 64 megapixels, got"):
        images.rgb(Image.new("1", size))


def wholes() -> list[bytes]:
    """Sound pictures with all that they may carry."""
    exif = Image.Exif()
    exif[0x0112] = 6
    alpha, found = PICTURE.convert("RGBA"), []
    alpha.putalpha(PICTURE.convert("L"))
    for picture in (PICTURE, alpha, PICTURE.convert("L"), PICTURE.convert("P")):
        for kind in ("PNG", "JPEG", "WEBP"):
            out, shown = io.BytesIO(), picture
            if kind == "JPEG" and picture.mode in ("RGBA", "P"):
                shown = PICTURE.convert("CMYK")
            shown.save(out, kind, exif=exif, icc_profile=P3)
            found.append(out.getvalue())
    return [*found, png(*HARMLESS.values())[:4000], png(HARMLESS["broken EXIF"])]


def test_600_damaged_pictures_are_pictures_or_bad_input() -> None:
    draw, good = np.random.default_rng(1), wholes()
    refused = 0
    for k in range(600):
        data = np.frombuffer(good[k % len(good)], np.uint8).copy()
        spots = draw.integers(0, min(len(data), (len(data), 300)[k % 2]), draw.integers(1, 6))
        data[spots] = draw.integers(0, 256, len(spots))
        cut = len(data) if k % 3 else draw.integers(0, len(data))
        try:
            assert decode(data[:cut].tobytes()).mode == "RGB"
        except BadInput as error:
            assert "\n" not in str(error)
            refused += 1
    assert 0 < refused < 600
