"""Sending the messages about the ends of jobs, several at a time, beside all else."""

import asyncio
import logging
from typing import Any

from mdp_lite.serve.queue.records import Delivery
from mdp_lite.serve.queue.webhooks import Failed

MOST = 8  # messages that are sent at one time
POLL = 1.0  # seconds between two looks for messages that are due
log = logging.getLogger("mdp_lite.serve")


async def send_all(queue: Any) -> None:
    """Send what is due of a JobQueue; then sleep."""
    due: list[Delivery] = await queue.database.run(queue.claims.claim_deliveries, MOST)
    await asyncio.gather(*(send_one(queue, one) for one in due))
    if len(due) < MOST:
        await asyncio.sleep(POLL)


async def send_one(queue: Any, one: Delivery) -> None:
    """Try one message, and store how that went."""
    error, is_final = None, False
    try:
        await queue.webhooks.send(one)
    except Failed as failed:
        error, is_final = str(failed), failed.is_final
    state = await queue.database.run(queue.claims.record_delivery, one, error, is_final)
    queue.deliveries.labels(state).inc()
