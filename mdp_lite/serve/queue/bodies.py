"""Jobs as the API shows them."""

import json
import sqlite3
from collections.abc import Sequence
from typing import Any

from mdp_lite.serve.pictures import to_base64
from mdp_lite.serve.queue.records import StoredJob
from mdp_lite.serve.queue.runner import JobQueue

Body = dict[str, Any]


def build_job(queue: JobQueue, job: StoredJob) -> Body:
    """A job's state: where it stands, how long it takes by estimate, and how it ended."""
    service = queue.service
    seconds = service.settings.limits.job_seconds
    return {
        "id": job.id,
        "object": "job",
        "endpoint": job.endpoint,
        "state": job.state,
        "priority": job.priority,
        "position": job.position,
        "estimate": round(service.batcher.speed.estimate(job.work), 3),
        "progress": round(job.progress, 4),
        "rows": job.counts | {"total": sum(job.counts.values())} if job.is_batch else None,
        "created_at": int(job.created),
        "started_at": job.started and int(job.started),
        "ended_at": job.ended and int(job.ended),
        "expires_at": job.ended and int(job.ended + seconds),
        "error": job.error,
        "webhook": _build_webhook(job),
        "preview": None if job.preview is None else to_base64(job.preview),
    }


def _build_webhook(job: StoredJob) -> Body | None:
    """Whether its owner was told of the end: waiting (for the end), pending, delivered, failed."""
    if job.webhook is None:
        return None
    state, attempts, error = job.delivery or ("waiting", 0, None)
    return {"url": job.webhook, "state": state, "attempts": attempts, "error": error}


def build_batch(rows: Sequence[sqlite3.Row]) -> list[bytes]:
    """The answers of a job of several requests; each has its state and what its endpoint says.

    In parts: joined they would take as much again.
    """
    parts = [b'{"object":"list","data":[']
    for k, one in enumerate(rows):
        status = json.dumps(one["status"]).encode()
        head = b'{"row":%d,"state":"%s","status":%s,"body":'
        parts.append(b"," * bool(k) + head % (one["position"], one["state"].encode(), status))
        parts += [one["answer"] or b"null", b"}"]
    return [*parts, b"]}"]
