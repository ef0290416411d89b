"""What is stored of jobs: their states, and the tables of the database."""

from typing import Any, NamedTuple

from fastapi.responses import JSONResponse

from mdp_lite.serve.errors import ApiError

STATES = ("queued", "running", "succeeded", "failed", "cancelled")
ENDED = STATES[2:]

FORM = 2  # of the requests that this version stores: how their bodies are written
# Columns that tables of older versions lack: their table, name and type.
ADDED = (("entries", "form", "INTEGER NOT NULL DEFAULT 1"),)

# An entry is one request of a job; a job that is no batch has one. turn orders the entries that
# wait: see turns.py. deaths counts the processes that died while they ran the entry. form is how
# its body is written: see update_body.
TABLES = """
CREATE TABLE IF NOT EXISTS jobs (
  number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, owner TEXT NOT NULL,
  model TEXT NOT NULL, endpoint TEXT NOT NULL, is_batch INTEGER NOT NULL,
  priority INTEGER NOT NULL, state TEXT NOT NULL, created REAL NOT NULL, started REAL, ended REAL,
  idempotency_key TEXT, digest TEXT NOT NULL, webhook TEXT, UNIQUE (owner, idempotency_key));
CREATE INDEX IF NOT EXISTS jobs_of_owner ON jobs (owner, number);
CREATE INDEX IF NOT EXISTS ended_jobs ON jobs (ended);
CREATE TABLE IF NOT EXISTS entries (
  job INTEGER NOT NULL REFERENCES jobs (number) ON DELETE CASCADE, position INTEGER NOT NULL,
  state TEXT NOT NULL, work REAL NOT NULL, seconds REAL NOT NULL, turn REAL NOT NULL,
  progress REAL NOT NULL DEFAULT 0, worker TEXT, starts INTEGER NOT NULL DEFAULT 0,
  deaths INTEGER NOT NULL DEFAULT 0, size INTEGER NOT NULL, status INTEGER, headers TEXT,
  body TEXT, preview BLOB, answer BLOB, form INTEGER NOT NULL DEFAULT 1,
  PRIMARY KEY (job, position));
CREATE INDEX IF NOT EXISTS entries_by_turn ON entries (state, turn);
CREATE TABLE IF NOT EXISTS deliveries (
  job INTEGER PRIMARY KEY REFERENCES jobs (number) ON DELETE CASCADE, id TEXT NOT NULL,
  payload TEXT NOT NULL, state TEXT NOT NULL, attempts INTEGER NOT NULL, due REAL NOT NULL,
  error TEXT);
CREATE INDEX IF NOT EXISTS due_deliveries ON deliveries (state, due);
"""


class NewEntry(NamedTuple):
    """A request of a new job: its work in FLOPs, the same in seconds, and its body as JSON.

    An entry that is refused has its answer instead.
    """

    work: float
    seconds: float
    body: str
    refusal: "EntryAnswer | None" = None


class NewJob(NamedTuple):
    """A job that is submitted; digest is a hash of the whole request.

    model has the names of the models that it needs, one a line (see job_models.py).
    """

    owner: str
    endpoint: str
    is_batch: bool
    priority: int
    key: str | None
    digest: str
    webhook: str | None
    entries: list[NewEntry]
    model: str


class Claim(NamedTuple):
    """An entry that this process runs from now on."""

    job: int
    position: int
    owner: str
    endpoint: str
    body: str
    starts: int
    deaths: int
    id: str
    model: str
    form: int


def check_form(claim: Claim) -> None:
    """Raise ApiError for a request that a newer version of the service stored."""
    if claim.form > FORM:
        what = f"its form is {claim.form}, this version reads up to {FORM}"
        message = f"a newer version of the service stored this job ({what}): submit it again"
        raise ApiError(501, message, "job_too_new")


def update_body(body: dict[str, Any], form: int) -> dict[str, Any]:
    """A stored body as this version writes it; fields that it lacks have their defaults.

    Form 1 ignored OpenAI's quality, and had `fast` for what is quality draft now.
    """
    if form >= 2:
        return body
    rest = {name: value for name, value in body.items() if name not in ("fast", "quality")}
    return rest | ({"quality": "draft"} if body.get("fast") else {})


class EntryAnswer(NamedTuple):
    """The answer to a request: status, headers and body as the endpoint itself gives them."""

    status: int
    headers: dict[str, str]
    body: bytes | bytearray


def to_answer(error: ApiError) -> EntryAnswer:
    """An error as the endpoint answers it."""
    response = JSONResponse(error.body, error.status, error.headers)
    headers = dict(response.headers)
    headers.pop("content-length")
    return EntryAnswer(error.status, headers, bytes(response.body))


class Delivery(NamedTuple):
    """A message about the end of a job that is due; attempts are those so far."""

    job: int
    id: str
    url: str
    payload: str
    attempts: int


class StoredJob(NamedTuple):
    """A job as its owner sees it, without bodies and answers.

    counts: entries by state. position: unfinished jobs whose turn is before. work: FLOPs until its
    end, with those before it. delivery: state, attempts and last error of its webhook.
    """

    number: int
    id: str
    endpoint: str
    is_batch: bool
    priority: int
    state: str
    created: float
    started: float | None
    ended: float | None
    webhook: str | None
    counts: dict[str, int]
    progress: float
    position: int
    work: float
    error: dict[str, Any] | None
    delivery: tuple[str, int, str | None] | None
    preview: bytes | None
