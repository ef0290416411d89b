"""The settings of a service: its address, who may use it, and its limits."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from PIL import Image

from mdp_lite.names import BadInput

LOOPBACK = ("127.0.0.1", "::1", "localhost")
LEAST_KEY = 16  # characters

# Names of OpenAI's models for pictures. A pattern, because there are new ones every few months.
OPENAI_NAMES = re.compile(r"(gpt-image|chatgpt-image|dall-e)-[\w.-]{1,64}", re.ASCII)

SafetyHook = Callable[[Sequence[Image.Image]], Sequence[bool]]  # True: hold the picture back


@dataclass(frozen=True)
class Limits:
    """Limits for one request and for all together; they are checked before work begins.

    Of one request: body_bytes; pixels of an upload; side of the model's picture, where 0 is twice
    the model's own; steps; images (uploads); pictures (of an answer); cells of a sweep; prompt in
    characters; rows, the work of so many UNet rows at the model's own size, so that a row of a
    larger picture counts as more; deadline in seconds. Of all: waiting_rows of admitted work;
    waiting_bytes, the memory of open requests (see memory.py); open requests; connections, and
    address_connections of one address; tasks that run at one time; sources and source_bytes that
    are stored. In seconds: head and read, for the head and the body of a request to arrive; write,
    for a client to read on; idle, between two
    requests of a connection; seconds, for which an unused source is stored.
    """

    body_bytes: int = 24 * 2**20
    pixels: int = 4096 * 4096
    side: int = 0
    steps: int = 200
    images: int = 4
    pictures: int = 10
    cells: int = 64
    prompt: int = 2000
    rows: int = 20_000
    waiting_rows: int = 60_000
    waiting_bytes: int = 2**30
    requests: int = 256
    connections: int = 1024
    address_connections: int = 256
    tasks: int = 16
    head: float = 10.0
    read: float = 30.0
    write: float = 60.0
    idle: float = 75.0
    deadline: float = 600.0
    sources: int = 256
    source_bytes: int = 2**30
    seconds: float = 3600.0


@dataclass(frozen=True)
class ServiceSettings:
    """The settings of the service of one model; clients know the model by the alias.

    keys: the bearer tokens of clients. origins: the pages that browsers may call from. max_rows:
    UNet rows of one call; None means as many as 2 GiB hold on a GPU, and 0 on a CPU. With 0 each
    picture is computed alone and has exactly the bits that it has without a service. replicas: how
    many copies of the service there may be, of which any may get a request. more_aliases: further
    names of the same model. openai_names: whether requests may also name a model of OpenAI's.
    """

    alias: str = "mdp-lite"
    host: str = "127.0.0.1"
    port: int = 8000
    keys: tuple[str, ...] = ()
    open: bool = False
    origins: tuple[str, ...] = ()
    max_rows: int | None = None
    metadata: bool = True
    drain: float = 30.0
    safety_hook: SafetyHook | None = None
    limits: Limits = field(default_factory=Limits)
    replicas: int = 1
    more_aliases: tuple[str, ...] = ()
    openai_names: bool = True

    @property
    def names(self) -> tuple[str, ...]:
        """All names of the model that the operator chose; the first is the alias."""
        return self.alias, *self.more_aliases

    def accepts(self, model: str) -> bool:
        """Whether requests may name the model so."""
        return model in self.names or (self.openai_names and is_openai_name(model))

    @property
    def local(self) -> bool:
        """Whether only this machine reaches it."""
        return self.host in LOOPBACK


def is_openai_name(model: str) -> bool:
    """Whether this is the name of one of OpenAI's models for pictures."""
    return OPENAI_NAMES.fullmatch(model) is not None


def check_settings(settings: ServiceSettings) -> ServiceSettings:
    """The settings. Raises BadInput, for example if others reach the service without a key."""
    if not settings.local and not settings.keys and not settings.open:
        raise BadInput(
            f"a service on {settings.host} needs an API key: set MDP_LITE_API_KEYS, "
            "or say --open if everybody who reaches it may use it"
        )
    for key in settings.keys:
        if len(key) < LEAST_KEY or not key.isascii() or not key.isprintable() or " " in key:
            raise BadInput(f"an API key must have {LEAST_KEY} or more ASCII characters, no space")
    for name in settings.names:
        if not re.fullmatch(r"[\w.:/@+-]{1,128}", name, re.ASCII):
            raise BadInput(f"an alias must be 1 to 128 letters, digits or ._:/@+-, got {name!r}")
    if len(set(settings.names)) < len(settings.names):
        raise BadInput(f"each alias must be given once, got {', '.join(settings.names)}")
    if not 0 <= settings.port <= 65535:
        raise BadInput(f"port must be from 0 to 65535, got {settings.port}")
    if settings.max_rows is not None and settings.max_rows < 0:
        raise BadInput(f"rows of a call must be 0 or more, got {settings.max_rows}")
    return settings
