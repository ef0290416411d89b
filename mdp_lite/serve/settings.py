"""The settings of a service: its address, who may use it, and its limits."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from mdp_lite.model_pool.specs import ModelSpec
from mdp_lite.names import BadInput
from mdp_lite.serve.queue.webhooks import Webhooks

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
    for a client to read on; idle, between two requests of a connection; seconds, for which an
    unused source is stored, and model_seconds, for which an unused model stays loaded. lora_sets:
    models with LoRAs that are loaded at one time. Of jobs: stored_jobs and job_bytes, of all
    together; job_rows, requests in one; running_jobs, requests of jobs that run at one time;
    job_seconds, for which a job is stored after its end.
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
    model_seconds: float = 900.0
    lora_sets: int = 4
    stored_jobs: int = 1000
    job_bytes: int = 2 * 2**30
    job_rows: int = 64
    running_jobs: int = 4
    job_seconds: float = 86_400.0


@dataclass(frozen=True)
class JobSettings:
    """How jobs are stored and whom their end is announced to.

    folder: where they survive a restart; None is beside the cache, or in memory without one.
    priorities: the highest that a job of a key may have, 0 for keys that are not in it.
    webhook_hosts: HOST, HOST:PORT or, for plain HTTP, http://HOST:PORT; nobody else is told.
    webhook_secret signs what they are sent.
    """

    folder: str | None = None
    priorities: Mapping[str, int] = field(default_factory=dict[str, int], repr=False)
    webhook_hosts: tuple[str, ...] = ()
    webhook_secret: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class ServiceSettings:
    """The settings of a service; clients know its first model by the alias.

    keys: the bearer tokens of clients. origins: the pages that browsers may call from. max_rows:
    UNet rows of one call; None means as many as 2 GiB hold on a GPU, and 0 on a CPU. With 0 each
    picture is computed alone and has exactly the bits that it has without a service. replicas: how
    many copies of the service there may be, of which any may get a request. more_aliases: further
    names of the same model. openai_names: whether requests may also name a model of OpenAI's.
    trace: whether OpenTelemetry's spans are sent. first says how the first model is loaded, which
    its LoRAs need; others are further models. lora_folder has the LoRAs of requests. model_memory:
    bytes of the weights of all loaded models.
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
    trace: bool = False
    first: ModelSpec | None = None
    others: tuple[ModelSpec, ...] = ()
    lora_folder: Path | None = None
    model_memory: int | None = None
    jobs: JobSettings = field(default_factory=JobSettings)

    @property
    def names(self) -> tuple[str, ...]:
        """All names of models that the operator chose; the first is the first model's alias."""
        return (
            self.alias, *self.more_aliases, *(name for one in self.others for name in one.names)
        )  # fmt: skip

    def find_alias(self, model: str | None) -> str | None:
        """The alias of the model that a request names; None if there is none of this name."""
        for one in self.others:
            if model in one.names:
                return one.alias
        if model is None or model in self.names or (self.openai_names and is_openai_name(model)):
            return self.alias
        return None

    def accepts(self, model: str) -> bool:
        """Whether requests may name a model so."""
        return self.find_alias(model) is not None

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
    if settings.lora_folder is not None and settings.first is None:
        raise BadInput("lora_folder needs first, which says how the first model is loaded")
    if not 0 <= settings.port <= 65535:
        raise BadInput(f"port must be from 0 to 65535, got {settings.port}")
    Webhooks(settings.jobs.webhook_hosts, settings.jobs.webhook_secret)
    if settings.max_rows is not None and settings.max_rows < 0:
        raise BadInput(f"rows of a call must be 0 or more, got {settings.max_rows}")
    return settings
