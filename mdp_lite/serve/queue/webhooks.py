"""Webhooks: whom the service may tell of a job's end, and one attempt to do so.

Only hosts that the operator lists are told. Their addresses are looked up once for each attempt,
all of them are checked, and the connection goes to one of these, so that a second answer of the
name service changes nothing. Redirects are not followed, and of the answer only its head is read.
"""

import asyncio
import base64
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple
from urllib.parse import urlsplit

from standardwebhooks import Webhook
from uvicorn.protocols.http.h11_impl import h11

from mdp_lite.names import BadInput
from mdp_lite.serve.errors import ApiError
from mdp_lite.serve.queue.records import Delivery
from mdp_lite.version import __version__

Address = IPv4Address | IPv6Address
Resolve = Callable[[str, int], Awaitable[list[str]]]
TIMEOUT = 15.0  # seconds for all of one attempt
HEAD = 16 * 1024  # bytes of an answer's head, at most
LONGEST = 2000  # characters of an address
PORTS = {"https": 443, "http": 80}
LEAST_SECRET = 24  # bytes, as Standard Webhooks has it


class Target(NamedTuple):
    """Where a message goes; path is that of the URL, with its query."""

    scheme: str
    host: str
    port: int
    path: str


class Failed(Exception):
    """An attempt failed; is_final if no other one can help."""

    def __init__(self, why: str, is_final: bool = False) -> None:
        super().__init__(why)
        self.is_final = is_final


class Webhooks:
    """The hosts that may be told, and the secret that signs what they get. Raises BadInput."""

    def __init__(self, hosts: Iterable[str], secret: str | None, resolve: Resolve | None = None):
        self._hosts = {read_host(one) for one in hosts}
        self._resolve = resolve or resolve_name
        self._signer = _make_signer(secret) if self._hosts else None

    @property
    def is_on(self) -> bool:
        """Whether there is anybody who may be told."""
        return bool(self._hosts)

    def check_url(self, url: str) -> Target:
        """Where a URL leads. Raises ApiError if nobody there may be told."""
        if not self.is_on:
            message = "webhook: the operator has allowed no host (--webhook-host)"
            raise _refuse(message)
        if len(url) > LONGEST or not url.isascii() or not url.isprintable() or " " in url:
            raise _refuse(f"webhook must be a URL of at most {LONGEST} ASCII characters")
        try:
            parts = urlsplit(url)
            port = parts.port or PORTS.get(parts.scheme, 0)
        except ValueError:
            raise _refuse("webhook must be a URL") from None
        host = (parts.hostname or "").rstrip(".")
        if parts.scheme not in PORTS or not host or "@" in parts.netloc or parts.fragment:
            raise _refuse("webhook must be https://HOST/PATH, without a name, password or #")
        if (parts.scheme, host, port) not in self._hosts:
            raise _refuse(f"webhook: {parts.scheme}://{host}:{port} is none of the allowed hosts")
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return Target(parts.scheme, host, port, path)

    async def send(self, one: Delivery) -> None:
        """Try once to deliver a message. Raises Failed."""
        try:
            target = self.check_url(one.url)
        except ApiError as error:
            raise Failed(error.message, True) from None
        try:
            async with asyncio.timeout(TIMEOUT):
                status = await self._post(target, one)
        except TimeoutError:
            raise Failed(f"no answer within {TIMEOUT:g} seconds") from None
        except (OSError, h11.RemoteProtocolError) as error:
            raise Failed(f"{type(error).__name__} on the way") from None
        if 300 <= status < 400:
            raise Failed(f"status {status}: redirects are not followed")
        if not 200 <= status < 300:
            raise Failed(f"status {status}", status == 410)

    async def _post(self, target: Target, one: Delivery) -> int:
        """The status of the answer."""
        address = await self._choose_address(target)
        secure = ssl.create_default_context() if target.scheme == "https" else None
        name = target.host if secure else None
        reader, writer = await asyncio.open_connection(
            address, target.port, ssl=secure, server_hostname=name, limit=HEAD
        )
        try:
            connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD)
            writer.write(self._write_request(connection, target, one))
            await writer.drain()
            return await _read_status(connection, reader)
        finally:
            writer.transport.abort()  # whatever the rest of the answer is, nobody reads it
            with suppress(OSError):
                await writer.wait_closed()

    def _write_request(self, connection: h11.Connection, target: Target, one: Delivery) -> bytes:
        assert self._signer is not None
        now, data = datetime.now(tz=UTC), one.payload.encode()
        host = f"[{target.host}]" if ":" in target.host else target.host
        host += "" if target.port == PORTS[target.scheme] else f":{target.port}"
        headers = {
            "Host": host, "Content-Type": "application/json", "Content-Length": str(len(data)),
            "Connection": "close", "User-Agent": f"mdp_lite/{__version__}", "webhook-id": one.id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": self._signer.sign(one.id, now, one.payload),
        }  # fmt: skip
        request = h11.Request(method="POST", target=target.path, headers=list(headers.items()))
        parts = (request, h11.Data(data=data), h11.EndOfMessage())
        return b"".join(connection.send(part) or b"" for part in parts)

    async def _choose_address(self, target: Target) -> str:
        """One of the host's addresses, if all of them may be told. Raises Failed."""
        try:
            found = [target.host] if _is_address(target.host) else None
            found = found or await self._resolve(target.host, target.port)
        except OSError:
            raise Failed("the host has no address") from None
        if not found:
            raise Failed("the host has no address")
        listed = {host for _, host, port in self._hosts if port == target.port}
        for one in found:
            address = to_address(one)
            if not is_public(address) and str(address) not in listed:
                raise Failed("the host has an address that is not public and not allowed")
        return found[0]


async def resolve_name(host: str, port: int) -> list[str]:
    """All addresses of a host."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(one[4][0]) for one in found))


async def _read_status(connection: h11.Connection, reader: asyncio.StreamReader) -> int:
    """The status of the first answer that is no interim one."""
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(HEAD))
        elif isinstance(event, h11.Response):
            return event.status_code
        elif not isinstance(event, h11.InformationalResponse):
            raise Failed("the connection was closed without an answer")


def read_host(text: str) -> tuple[str, str, int]:
    """(scheme, host, port) of an option. Raises BadInput."""
    scheme, _, rest = text.rpartition("://")
    scheme = scheme or "https"
    bad = BadInput(f"webhook-host must be HOST, HOST:PORT or http://HOST:PORT, got {text!r}")
    if scheme not in PORTS or not rest.isascii() or any(one in rest for one in "*/?#@ "):
        raise bad
    try:
        parts = urlsplit(f"//{rest}")
        host, port = (parts.hostname or "").rstrip("."), parts.port or PORTS[scheme]
    except ValueError:
        raise bad from None
    if not host:
        raise bad
    return scheme, str(to_address(host)) if _is_address(host) else host, port


def to_address(text: str) -> Address:
    """An address; one of IPv4 that is written as IPv6 is the one of IPv4."""
    found = ip_address(text.partition("%")[0])
    return (isinstance(found, IPv6Address) and found.ipv4_mapped) or found


def is_public(address: Address) -> bool:
    """Whether an address belongs to one host of the Internet, and to no network around it."""
    if isinstance(address, IPv6Address):
        inner = [address.sixtofour, *(address.teredo or ())]
        if any(one is not None for one in inner):
            return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def _is_address(host: str) -> bool:
    with suppress(ValueError):
        return bool(ip_address(host))
    return False


def _make_signer(secret: str | None) -> Webhook:
    if secret is None:
        raise BadInput("webhook-host needs a secret: webhook-secret-file, or the variable")
    try:
        key = base64.b64decode(secret.removeprefix("whsec_") + "==")
    except ValueError:
        raise BadInput("the secret of webhooks must be base64, after whsec_ or alone") from None
    if len(key) < LEAST_SECRET:
        least = f"{LEAST_SECRET} bytes or more"
        raise BadInput(f"the secret of webhooks must have {least}, got {len(key)}")
    return Webhook(key)


def _refuse(message: str) -> ApiError:
    return ApiError(400, message, "invalid_value", "webhook")
