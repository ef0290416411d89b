"""What an answer says beside its pictures, in the schema of OpenAI's Images API and our own."""

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from fastapi import Request

from mdp_lite.pipeline.result import Cost, add_costs
from mdp_lite.serve.fields import CommonFields
from mdp_lite.serve.ignored import list_header
from mdp_lite.serve.memory import Lease, lease_of
from mdp_lite.serve.pieces import FILE_MARK
from mdp_lite.serve.served import ServedModel
from mdp_lite.serve.service import Service
from mdp_lite.serve.work import PictureResult

Body = dict[str, Any]


class RequestContext(NamedTuple):
    """A request whose fields are checked; kind is image_edit, image_generation or sweep.

    ignored: the fields that have no effect, and why. counted: the kind of its pictures in metrics.
    started is on the monotonic clock; decode_seconds is the time that reading the request took.
    model makes the pictures.
    """

    request: Request
    service: Service
    fields: CommonFields
    kind: str
    started: float
    decode_seconds: float
    ignored: dict[str, str]
    counted: str
    model: ServedModel

    @property
    def lease(self) -> Lease:
        """The memory that the request takes."""
        return lease_of(self.request)

    @property
    def end(self) -> float | None:
        """The request's deadline on the monotonic clock, if it has one."""
        seconds = self.fields.deadline
        return None if seconds is None else self.started + seconds

    @property
    def loading(self) -> dict[str, float]:
        """The seconds for which the request waited for its model, if that was not loaded."""
        state = self.request.scope["state"]
        return {"load": state["load"]} if "load" in state else {}


class PictureFile(NamedTuple):
    """A picture that is ready to be sent: its file, the seconds of each stage, its size.

    The result's image is empty: the file has it.
    """

    result: PictureResult
    file: bytes
    seconds: dict[str, float]
    size: str


def observe_stages(request: Request, service: Service, seconds: dict[str, float]) -> None:
    """Count the seconds of the stages of a job of this request, in metrics and in its trace."""
    service.metrics.observe_seconds(seconds)
    if span := request.scope["state"].get("span"):
        span.add_stages(seconds)


def build_body(context: RequestContext, files: Sequence[PictureFile]) -> Body:
    """OpenAI's answer, and our own fields beside it: seed, finished, truncated, timings.

    FILE_MARK stands for the files, which pieces.py sends.
    """
    context.request.scope["state"]["log"] = log_fields(files)
    return {
        "created": int(time.time()),
        "data": [
            {
                "b64_json": FILE_MARK,
                "seed": one.result.seed,
                "finished": one.result.finished,
                "truncated": one.result.truncated,
            }
            for one in files
        ],
        "size": files[0].size,
        "output_format": context.fields.output_format,
        "background": "opaque",
        "usage": usage(add_costs(*(one.result.cost for one in files))),
        "timings": stage_seconds(files),
        "truncated": any(one.result.truncated for one in files),
        **context.model.key.describe(),
        "ignored": context.ignored,
        "unknown_words": list(dict.fromkeys(w for one in files for w in one.result.unknown_words)),
        "notes": list(dict.fromkeys(note for one in files for note in one.result.notes)),
    }


def usage(cost: Cost) -> Body:
    """OpenAI's usage object; a token is a UNet row."""
    none = {"image_tokens": 0, "text_tokens": 0}
    return {
        "input_tokens": 0,
        "input_tokens_details": none,
        "output_tokens": cost.unet_rows,
        "total_tokens": cost.unet_rows,
    }


def log_fields(files: Sequence[PictureFile]) -> Body:
    """The fields of an answer in the log."""
    return {"rows": sum(one.result.cost.unet_rows for one in files), **stage_seconds(files)}


def stage_seconds(files: Sequence[PictureFile]) -> dict[str, float]:
    """The seconds of each stage, of the picture that took longest in it."""
    stages = dict.fromkeys(stage for one in files for stage in one.seconds)
    return {
        stage: round(max(one.seconds.get(stage, 0.0) for one in files), 4) for stage in stages
    }  # fmt: skip


def build_headers(context: RequestContext, files: Sequence[PictureFile]) -> dict[str, str]:
    """The headers of an answer: the seconds of each stage, and the fields without effect."""
    return {"Server-Timing": _server_timing(files), **list_header(context.ignored)}


def _server_timing(files: Sequence[PictureFile]) -> str:
    return ", ".join(f"{stage};dur={1e3 * s:.1f}" for stage, s in stage_seconds(files).items())
