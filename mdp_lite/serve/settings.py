"""What an operator says of a service: where it listens, who may use it, and how much of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from PIL import Image

LOOPBACK = ("127.0.0.1", "::1", "localhost")
LEAST_KEY = 16  # characters

SafetyHook = Callable[[Sequence[Image.Image]], Sequence[bool]]  # True: not to be shown


@dataclass(frozen=True)
class Limits:
    """How much one request, one client and all together may ask for; all are checked before work.

    pixels are those of an upload, side those of the model's picture, rows UNet rows; waiting_bytes
    is what the pictures of all that were let in take, requests how many are open at one time. read
    is how many seconds a body may take to arrive, write how long an answer may wait for a client
    to read on, seconds how long a source is kept unused.
    """

    body_bytes: int = 24 * 2**20
    pixels: int = 4096 * 4096
    side: int = 1024
    steps: int = 200
    images: int = 4
    pictures: int = 10
    cells: int = 64
    prompt: int = 2000
    rows: int = 20_000
    waiting_rows: int = 60_000
    waiting_bytes: int = 2**30
    requests: int = 256
    jobs: int = 16
    read: float = 30.0
    write: float = 60.0
    deadline: float = 600.0
    sources: int = 256
    source_bytes: int = 2**30
    seconds: float = 3600.0


@dataclass(frozen=True)
class Settings:
    """The service of one model, known to clients as its alias.

    keys are those that clients show as bearer tokens; origins are the pages that browsers may call
    from. most is how many UNet rows go into one call: None as many as memory has room for on a
    GPU, and on a CPU 0, where every picture has the bits that it has alone. replicas is how many
    services there may be at one time of which a client's request reaches any.
    """

    alias: str = "mdp-lite"
    host: str = "127.0.0.1"
    port: int = 8000
    keys: tuple[str, ...] = ()
    open: bool = False
    origins: tuple[str, ...] = ()
    most: int | None = None
    metadata: bool = True
    drain: float = 30.0
    safety_hook: SafetyHook | None = None
    limits: Limits = field(default_factory=Limits)
    replicas: int = 1

    @property
    def local(self) -> bool:
        """Whether only this machine reaches it."""
        return self.host in LOOPBACK


def checked(settings: Settings) -> Settings:
    """The settings, or a ValueError: a service that others reach needs a key."""
    if not settings.local and not settings.keys and not settings.open:
        raise ValueError(
            f"a service on {settings.host} needs an API key: set MDP_LITE_API_KEYS, "
            "or say --open if everybody who reaches it may use it"
        )
    for key in settings.keys:
        if len(key) < LEAST_KEY or not key.isascii() or not key.isprintable() or " " in key:
            raise ValueError(f"an API key must have {LEAST_KEY} or more ASCII characters, no space")
    if not 0 <= settings.port <= 65535:
        raise ValueError(f"port must be from 0 to 65535, got {settings.port}")
    if settings.most is not None and settings.most < 0:
        raise ValueError(f"rows of a call must be 0 or more, got {settings.most}")
    return settings
