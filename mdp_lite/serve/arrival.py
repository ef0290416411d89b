"""A body's memory as it arrives, and the parsers that bound what its texts take."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

from fastapi import Request
from starlette.datastructures import FormData
from starlette.formparsers import FormParser, MultiPartException, MultiPartParser

from mdp_lite.serve.errors import ApiError
from mdp_lite.serve.holdings import ARRIVING
from mdp_lite.serve.memory import Lease

Message = Any
SLICE = 2**14  # bytes of a form that are parsed at a time, in milliseconds
MULTIPART = "multipart/form-data"


class Arrival:
    """The body of a request while it arrives: its lease holds what came.

    If there is no room for it, the rest is read and dropped, so that the client, which may read
    only once it has sent all, gets the refusal.
    """

    def __init__(self, scope: Message) -> None:
        length = dict(scope["headers"]).get(b"content-length", b"0")
        self._lease: Lease = scope["state"]["memory"]
        self._error: ApiError | None = None
        self._check(lambda: self._lease.check_room(ARRIVING * int(length)))

    def take(self, message: Message, done: bool) -> Message:
        """A part of the body, counted; empty after a refusal, which is raised at the end."""
        data = message.get("body", b"")
        if data and self._error is None:
            self._check(lambda: self._lease.add("body", ARRIVING * len(data)))
        if self._error is None or message["type"] != "http.request":
            return message
        if done:
            raise self._error
        return message | {"body": b""}

    def _check(self, hold: Callable[[], None]) -> None:
        try:
            hold()
        except ApiError as error:
            self._error = error


async def parse_form(request: Request, texts: int, fields: int, files: int) -> FormData:
    """A form with at most so many bytes of texts, fields and files; the caller closes it."""
    bound, most = BoundedTexts(texts), {"max_fields": fields, "max_part_size": texts}
    kind = request.headers["content-type"].partition(";")[0].strip().lower()
    async with aclosing(_take_turns(request)) as stream:
        if kind != MULTIPART:
            return await BoundedFormParser(bound, request.headers, stream, **most).parse()
        most |= {"max_files": files}
        return await BoundedMultiPartParser(bound, request.headers, stream, **most).parse()


async def _take_turns(request: Request) -> AsyncGenerator[bytes, None]:
    """The parts of a body; a slice of one body is parsed at a time, so that others get in.

    It is parsed between two steps of this generator.
    """
    turn: asyncio.Lock = request.app.state.parsing
    async for part in request.stream():
        for start in range(0, len(part), SLICE):
            async with turn:
                yield part[start : start + SLICE]
            await asyncio.sleep(0)


class BoundedTexts:
    """Counts the bytes of a form's texts."""

    def __init__(self, limit: int) -> None:
        self.limit, self.size = limit, 0

    def add(self, size: int) -> None:
        """Count so many bytes more. Raises MultiPartException above the limit."""
        self.size += size
        if self.size > self.limit:
            raise MultiPartException(f"its texts must have at most {self.limit} bytes together")


class BoundedMultiPartParser(MultiPartParser):
    """Starlette's, with a limit on all texts together: their characters may take four bytes."""

    def __init__(self, texts: BoundedTexts, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._texts = texts

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        """A piece of a part."""
        if self._current_part.file is None:
            self._texts.add(end - start)
        super().on_part_data(data, start, end)


class BoundedFormParser(FormParser):
    """The same for a form without files, with the names of its fields."""

    def __init__(self, texts: BoundedTexts, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._texts = texts

    def on_field_name(self, data: bytes, start: int, end: int) -> None:
        """A piece of a field's name."""
        self._texts.add(end - start)
        super().on_field_name(data, start, end)

    def on_field_data(self, data: bytes, start: int, end: int) -> None:
        """A piece of a field."""
        self._texts.add(end - start)
        super().on_field_data(data, start, end)
