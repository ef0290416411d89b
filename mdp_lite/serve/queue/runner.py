"""The queue of a process: it runs the jobs of a database beside direct requests, and ends them."""

import asyncio
import json
import logging
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

from prometheus_client import Counter
from prometheus_client.core import GaugeMetricFamily

from mdp_lite.batcher.turns import Share
from mdp_lite.serve.answers import encode_picture
from mdp_lite.serve.errors import ApiError
from mdp_lite.serve.gate import hash_key
from mdp_lite.serve.memory import Lease
from mdp_lite.serve.queue import deliveries
from mdp_lite.serve.queue.claims import ClaimStore, EntryProgress
from mdp_lite.serve.queue.database import Database, check_folder, find_folder
from mdp_lite.serve.queue.internal import run_body
from mdp_lite.serve.queue.job_models import check_model, join_models, name_models
from mdp_lite.serve.queue.jobs import JobStore, share_limits
from mdp_lite.serve.queue.records import (
    STATES,
    Claim,
    EntryAnswer,
    check_form,
    to_answer,
    update_body,
)
from mdp_lite.serve.queue.webhooks import Webhooks
from mdp_lite.serve.queue.workers import Workers
from mdp_lite.serve.runs import RequestRun
from mdp_lite.serve.service import Service
from mdp_lite.serve.settings import JobSettings

POLL = 0.5  # seconds between two looks at what other processes did
RECOVER = 5.0  # seconds between two looks for processes that died, and for jobs that are too old
STARTS = 3  # of an entry that fails for want of memory or disk
RESULTS = ("succeeded", "failed")  # of a request of a job
ATTEMPTS = ("delivered", "pending", "failed")  # of a message to a webhook
LARGEST = 900_000_000  # bytes of an answer that is stored: SQLite takes rows of 1,000,000,000
TOO_LARGE = ApiError(
    500, f"the answer has more than {LARGEST:,} bytes, so it can't be stored: ask for less at once",
    "answer_too_large",
)  # fmt: skip
AGAIN = ("out_of_memory", "source_not_kept")
MEMORY = "jobs are in memory: a restart loses them; --jobs FOLDER or --cache FOLDER stores them"
log = logging.getLogger("mdp_lite.serve")


class Running(NamedTuple):
    """An entry that runs here."""

    claim: Claim
    run: RequestRun
    task: "asyncio.Task[None]"


class JobQueue:
    """Jobs of one service. All but the database and the work runs in the loop of asyncio.

    Jobs take turns at the models as one request, whatever their number. Raises BadInput for
    settings of webhooks that are wrong, and for a folder that can't be written.
    """

    def __init__(self, service: Service, app: Any) -> None:
        settings: JobSettings = service.settings.jobs
        self.service, self._app, self._share = service, app, Share()
        self.webhooks = Webhooks(settings.webhook_hosts, settings.webhook_secret)
        self.is_shared = service.settings.replicas > 1
        folder = find_folder(settings.folder, service.editor.cache)
        if folder is not None:
            check_folder(folder)  # so that one that can't be used is an error at once
        self.database = Database(folder)
        self._owners = {hash_key(key): bound for key, bound in settings.priorities.items()}
        self._known = {hash_key(key) for key in service.settings.keys} or {""}
        self._running: dict[tuple[int, int], Running] = {}
        self._loops: list[asyncio.Task[None]] = []
        self._wake, self._news = asyncio.Event(), asyncio.Event()
        self._counts = dict.fromkeys(STATES, 0)
        self.deliveries = Counter(
            "mdp_lite_webhooks", "attempts to tell of the end of a job", ("state",),
            registry=service.metrics.registry,
        )  # fmt: skip
        self.ended = Counter(
            "mdp_lite_job_requests", "requests of jobs that were run, by their state", ("state",),
            registry=service.metrics.registry,
        )  # fmt: skip
        for counter, states in ((self.deliveries, ATTEMPTS), (self.ended, RESULTS)):
            for state in states:
                counter.labels(state)  # so that each is there from the start
        service.metrics.registry.register(self)  # type: ignore[arg-type]

    @property
    def is_available(self) -> bool:
        """Whether every process that may be asked knows the jobs."""
        return self.database.folder is not None or not self.is_shared

    def highest_priority(self, owner: str) -> int:
        """The highest priority that a job of this owner may have."""
        return self._owners.get(owner, 0)

    async def start(self) -> None:
        """Open the database, take up what dead processes left, and begin."""
        database, folder, limits = self.database, self.database.folder, self.service.settings
        if folder is None:
            log.info(MEMORY)
        await database.run(database.open)
        self.models = await asyncio.to_thread(name_models, self.service, folder)
        model = join_models(self.models.values())
        self._workers = workers = Workers(folder, model)
        owned = share_limits(limits.limits, len(limits.keys))
        self.jobs = JobStore(database, limits.limits, owned)
        self.claims = ClaimStore(database, limits.limits, owned, workers, model)
        await database.run(workers.join)
        await self._tidy()
        loops = [self._start_entries, self._check_running, self._recover]
        loops += [partial(deliveries.send_all, self)] if self.webhooks.is_on else []
        self._loops = [asyncio.create_task(repeat(one)) for one in loops]

    async def stop(self) -> None:
        """Stop all work within one step; what ran waits again, for any process."""
        tasks = [*self._loops, *(one.task for one in self._running.values())]
        for one in tasks:
            one.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if not self._loops:  # it never began
            return
        with suppress(ApiError):
            await self.database.run(self.claims.put_back)
            await self.database.run(self._workers.leave)
            await self.database.close()

    async def call(self, work: Any, *args: Any) -> Any:
        """Work on the stores; whoever waits for news is told."""
        try:
            return await self.database.run(work, *args)
        finally:
            self._wake.set()
            self._announce()

    async def wait_for_news(self, seconds: float) -> None:
        """Return at once after a change in this process, else after POLL seconds."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._news.wait(), min(POLL, seconds))

    async def stop_entries(self, number: int) -> None:
        """Stop what runs of a job here; returns after one step at most."""
        tasks = [one.task for key, one in self._running.items() if key[0] == number]
        for one in tasks:
            one.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _announce(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    async def _start_entries(self) -> None:
        """Start entries as long as there are slots and anything waits; then sleep."""
        self._wake.clear()
        while self._has_room():
            is_alone = not self._running
            claim = await self.database.run(self.claims.claim, is_alone)
            if claim is None:
                break
            run = RequestRun(self._share, is_job=True)
            task = asyncio.create_task(self._run_entry(claim, run))
            self._running[claim[:2]] = Running(claim, run, task)
            task.add_done_callback(lambda _, key=claim[:2]: self._running.pop(key, None))
            self._announce()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), POLL)

    def _has_room(self) -> bool:
        """Whether another entry may start: jobs leave half of what may wait to direct requests."""
        service, limits = self.service, self.service.settings.limits
        is_alone = any(one.claim.deaths for one in self._running.values())
        is_busy = bool(service.work) and service.rows > limits.waiting_rows / 2
        is_full = len(self._running) >= limits.running_jobs
        return service.ready and not (is_alone or is_busy or is_full)

    async def _run_entry(self, claim: Claim, run: RequestRun) -> None:
        started, lease = time.monotonic(), self.service.memory.open()
        try:
            answer = await self._compute(claim, run, lease)
            code = read_code(answer)
            is_again = answer.status == 429 or (code in AGAIN and claim.starts < STARTS)
            if not is_again and code != "shutting_down":
                await self._store(claim, answer)
        finally:
            lease.close()  # not before: the answer is in memory until it is stored
        if code == "shutting_down":
            return  # stop() puts it back
        if is_again:
            await asyncio.sleep(POLL)
            return await self.database.run(self.claims.put_back, claim)
        self._log_end(claim, answer.status, time.monotonic() - started)

    def _log_end(self, claim: Claim, status: int, seconds: float) -> None:
        self.ended.labels(RESULTS[status >= 400]).inc()
        route = claim.endpoint if "src_" not in claim.endpoint else "/v1/sources/{source}/edits"
        line = {"job": claim.id, "row": claim.position, "route": route, "status": status}
        line |= {"seconds": round(seconds, 4), "starts": claim.starts}
        log.info("a request of a job", extra={"fields": line})

    async def _store(self, claim: Claim, answer: EntryAnswer) -> None:
        """Store an answer, as often as needed, or that it is too large for that."""
        if len(answer.body) > LARGEST:
            answer = to_answer(TOO_LARGE)
        while not await self._end(claim, answer):
            await asyncio.sleep(RECOVER)

    async def _end(self, claim: Claim, answer: EntryAnswer) -> bool:
        """Store an answer; False if the disk is full, say. The answer is not given up then."""
        with suppress(ApiError):
            await self.call(self.claims.end, claim, answer)
            return True
        return False

    async def _compute(self, claim: Claim, run: RequestRun, lease: Lease) -> EntryAnswer:
        if claim.owner not in self._known:
            message = "the API key of this job is not valid any more"
            return to_answer(ApiError(401, message, "invalid_api_key"))
        try:
            check_form(claim)
            body = update_body(json.loads(claim.body), claim.form)
            check_model(claim, body, self.service, self.models)
        except ApiError as error:
            return to_answer(error)
        return await run_body(self._app, claim.owner, claim.endpoint, body, run, lease)

    async def _check_running(self) -> None:
        """Store how far entries are, and stop those that another process cancelled."""
        await asyncio.sleep(POLL)
        reports = [await self._report(one) for one in list(self._running.values())]
        if reports:
            mine = await self.database.run(self.claims.report, reports)
            for one in reports:
                running = self._running.get((one.job, one.position))
                if running and (one.job, one.position) not in mine:
                    running.task.cancel()

    async def _report(self, one: Running) -> EntryProgress:
        picture, one.run.preview = one.run.preview, None
        file = None
        if picture is not None:
            image, context = picture
            encode = partial(encode_picture, context, image, None)
            with suppress(ApiError):  # the safety hook holds it back
                file = await self.service.process_pictures(encode)
        return EntryProgress(*one.claim[:2], one.run.progress, file)

    async def _recover(self) -> None:
        await asyncio.sleep(RECOVER)
        await self._tidy()

    async def _tidy(self) -> None:
        for work in (self.claims.recover, self.jobs.expire):
            await self.database.run(work)
        self._counts = await self.database.run(self.jobs.count)

    def collect(self) -> Iterator[Any]:
        """The gauge of stored jobs, as of the last RECOVER seconds."""
        gauge = GaugeMetricFamily("mdp_lite_jobs", "jobs that are stored", labels=["state"])
        for state, count in self._counts.items():
            gauge.add_metric([state], count)
        yield gauge


async def repeat(work: Any) -> None:
    """Do this again and again; a failure is logged, and ends nothing."""
    while True:
        try:
            await work()
        except ApiError:  # the database, which is in the log
            await asyncio.sleep(RECOVER)
        except Exception:
            log.exception("a part of the queue of jobs failed")
            await asyncio.sleep(RECOVER)


def read_code(answer: EntryAnswer) -> str | None:
    """The code of an answer's error, or None for another answer."""
    return json.loads(answer.body)["error"]["code"] if answer.status >= 400 else None
