"""ICC profiles that tests write: matrix profiles of RGB spaces, a grey one, and a CMYK table."""

import struct
from itertools import product

D50 = (0.9642, 1.0, 0.8249)
Space = tuple[tuple[tuple[float, ...], ...], float]
# Columns of the matrices from linear RGB to XYZ (D50) and the gamma of the tone curve.
SRGB = (((0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141)), 2.2)
DISPLAY_P3 = (((0.5151, 0.2412, -0.0011), (0.2920, 0.6922, 0.0419), (0.1571, 0.0666, 0.7841)), 2.2)
ADOBE_RGB = (((0.6097, 0.3111, 0.0195), (0.2053, 0.6257, 0.0609), (0.1492, 0.0632, 0.7446)), 2.2)
PROPHOTO = (((0.7977, 0.2880, 0.0), (0.1352, 0.7119, 0.0), (0.0313, 0.0001, 0.8249)), 1.8)


def fixed(*numbers: float) -> bytes:
    """s15Fixed16 numbers."""
    return b"".join(struct.pack(">i", round(number * 65536)) for number in numbers)


def xyz(values: tuple[float, ...]) -> bytes:
    return b"XYZ " + bytes(4) + fixed(*values)


def curve(gamma: float) -> bytes:
    return b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)) + bytes(2)


def text(words: str) -> bytes:
    data = words.encode("ascii") + b"\0"
    return b"desc" + bytes(4) + struct.pack(">I", len(data)) + data + bytes(8 + 3 + 67 + 3)


def assemble(space: bytes, connection: bytes, kind: bytes, tags: dict[bytes, bytes]) -> bytes:
    """A version 2 profile of these tags."""
    table, body, start = b"", b"", 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        data += bytes(-len(data) % 4)
        table += name + struct.pack(">II", start + len(body), len(data))
        body += data
    head = struct.pack(">I", start + len(body)) + b"test" + b"\x02\x40\0\0"
    head += kind + space + connection
    head += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + fixed(*D50) + bytes(48)
    return head + struct.pack(">I", len(tags)) + table + body


def rgb_profile(space: Space, name: str = "test space") -> bytes:
    """A matrix profile of an RGB space."""
    columns, gamma = space
    tags = {b"desc": text(name), b"cprt": text("none"), b"wtpt": xyz(D50)}
    for letter, column in zip((b"r", b"g", b"b"), columns, strict=True):
        tags |= {letter + b"XYZ": xyz(column), letter + b"TRC": curve(gamma)}
    return assemble(b"RGB ", b"XYZ ", b"mntr", tags)


def grey_profile(gamma: float = 1.8, name: str = "test grey") -> bytes:
    """A grey profile with a gamma curve."""
    tags = {b"desc": text(name), b"cprt": text("none"), b"wtpt": xyz(D50), b"kTRC": curve(gamma)}
    return assemble(b"GRAY", b"XYZ ", b"mntr", tags)


def cmyk_profile(name: str = "test inks") -> bytes:
    """A CMYK profile whose table to Lab has two grid points an ink."""
    entries = b""
    for c, m, y, k in product((0, 1), repeat=4):
        light = 95 * (1 - 0.45 * c) * (1 - 0.5 * m) * (1 - 0.08 * y) * (1 - 0.85 * k)
        a, b = 70 * m - 35 * c, 85 * y - 45 * c
        lab = (255 * light / 100, 128 + a * (1 - k), 128 + b * (1 - k))
        entries += bytes(min(255, max(0, round(value))) for value in lab)
    ramp = bytes(range(256))
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + fixed(1, 0, 0, 0, 1, 0, 0, 0, 1)
    table += ramp * 4 + entries + ramp * 3
    tags = {b"desc": text(name), b"cprt": text("none"), b"wtpt": xyz(D50), b"A2B0": table}
    return assemble(b"CMYK", b"Lab ", b"prtr", tags)
