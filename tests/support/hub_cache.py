"""Hubs that tests need: a cache as the library lays it out, a server, a process that asks."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from support.places import ROOT

Files = dict[str, bytes]


def commit_of(files: Files) -> str:
    """40 hexadecimal digits for a set of files."""
    sums = [(name, hashlib.sha256(files[name]).hexdigest()) for name in sorted(files)]
    return hashlib.sha1(repr(sums).encode()).hexdigest()


def write_snapshot(cache: Path, repo: str, files: Files, ref: str | None = "main") -> Path:
    """What a download leaves: blobs by hash, a snapshot of links by commit, a ref by name."""
    home = cache / f"models--{repo.replace('/', '--')}"
    snapshot = home / "snapshots" / commit_of(files)
    for name, data in files.items():
        blob = home / "blobs" / hashlib.sha256(data).hexdigest()
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(data)
        link = snapshot / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blob, link.parent))
    if ref:
        (home / "refs" / ref).parent.mkdir(parents=True, exist_ok=True)
        (home / "refs" / ref).write_text(snapshot.name)
    return snapshot


def write_listing(snapshot: Path, names: list[str]) -> None:
    """What newer versions keep beside it: the names of all files of the commit, here or not."""
    path = snapshot.parent.parent / "trees" / f"{snapshot.name}.json"
    path.parent.mkdir()
    entries = {name: {"size": 1, "blob_id": "0" * 40} for name in names}
    path.write_text(json.dumps({"format_version": 1, "files": entries}))


class Request(NamedTuple):
    """One request as the server saw it."""

    method: str
    path: str
    token: str | None
    range: str | None


@dataclass
class FakeHub:
    """A hub's repositories, what goes wrong with them, and what was asked of it.

    A fault is by repository or by repository/file: a status with its code, "cut" (half a body,
    once), "short" (another size), "hang" (no answer), "page" (a web page), "moves" (another commit
    with every answer).
    """

    url: str = ""
    files: dict[str, dict[str, Files]] = field(default_factory=dict)  # by repository and revision
    faults: dict[str, Any] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    hung: threading.Event = field(default_factory=threading.Event)
    release: threading.Event = field(default_factory=threading.Event)

    def add(self, repo: str, files: Files, ref: str = "main") -> str:
        """A revision of a repository; its commit."""
        commit = commit_of(files)
        self.files.setdefault(repo, {}).update({ref: files, commit: files})
        return commit

    def downloads(self, repo: str, method: str = "GET") -> list[str]:
        """The files that were asked for since the last call, in order of name."""
        asked = [r for r in self.requests if r.path.startswith(f"/{repo}/resolve/")]
        self.requests[:] = [r for r in self.requests if r not in asked]
        return sorted(r.path.split("/", 5)[5] for r in asked if r.method == method)


class Handler(BaseHTTPRequestHandler):
    """Answers as the hub does: information, trees, files."""

    hub: FakeHub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if "/models/" not in path and "/resolve/" not in path:
            return self.fail(404, "")  # the library asks for a few other things
        seen = Request(self.command, path, self.headers["Authorization"], self.headers["Range"])
        self.hub.requests.append(seen)
        if path.startswith("/api/models/"):
            org, name, *rest = path.removeprefix("/api/models/").split("/")
            self.about(f"{org}/{name}", rest)
        else:
            org, name, _, commit, file = path[1:].split("/", 4)
            self.file(f"{org}/{name}", commit, unquote(file))

    def about(self, repo: str, rest: list[str]) -> None:
        kind, revision = rest or ("revision", "main")
        files = self.hub.files.get(repo, {}).get(unquote(revision))
        fault = self.hub.faults.get(repo)
        if isinstance(fault, tuple):
            return self.fail(*fault)
        if fault == "hang":
            self.close_connection = self.hub.release.wait(20)
            return None
        if repo not in self.hub.files or files is None:
            return self.fail(404, "RevisionNotFound" if repo in self.hub.files else "RepoNotFound")
        if fault == "moves":
            self.hub.add(repo, files | {"new": b""})
        if kind == "tree":
            return self.send(
                [{"type": "file", "path": n, "size": len(files[n]), "oid": "0"} for n in files]
            )
        siblings = [{"rfilename": name} for name in files]
        self.send("<html>" if fault == "page" else about_model(repo, commit_of(files), siblings))

    def file(self, repo: str, commit: str, name: str) -> None:
        data, fault = self.hub.files[repo][commit][name], self.hub.faults.get(f"{repo}/{name}")
        if isinstance(fault, tuple) and (self.command == "GET" or fault[1]):
            return self.fail(*fault)
        data = data[:-1] if fault == "short" and self.command == "GET" else data
        start = int((self.headers["Range"] or "bytes=0-").removeprefix("bytes=").rstrip("-"))
        etag = hashlib.sha256(data).hexdigest()
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(data) - start))
        self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("ETag", f'"{etag}"')
        self.send_header("X-Repo-Commit", commit)
        self.end_headers()
        if self.command == "HEAD":
            return
        if fault in ("cut", "hang"):
            self.wfile.write(data[start : len(data) // 2])
            self.wfile.flush()
            self.hub.hung.set()
            if fault == "hang":
                self.hub.release.wait(20)
            self.hub.faults.pop(f"{repo}/{name}", None)
            self.close_connection = True
        else:
            self.wfile.write(data[start:])

    def fail(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def send(self, answer: Any) -> None:
        body = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def about_model(repo: str, commit: str, siblings: list[dict[str, str]]) -> dict[str, Any]:
    """What the hub says of a model, as far as the library needs it."""
    return {"id": repo, "modelId": repo, "sha": commit, "siblings": siblings, "tags": []}


@contextmanager
def serving() -> Iterator[FakeHub]:
    """A hub on this machine, for as long as the block runs."""
    hub = FakeHub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield hub
    finally:
        hub.release.set()
        server.shutdown()
        server.server_close()


# hub.py alone, without its package: torch would take most of the time. It waits half a second for
# the hub, picks the given files (None: JSON, and safetensors that are not fp16), answers JSON.
CHILD = """
import json, sys
sys.path.insert(0, sys.argv[1])
import hub
sys.path.pop(0)
hub.TIMEOUT = 0.5
read = lambda name: name.endswith((".json", ".safetensors")) and "fp16" not in name
print("ready", flush=True)
for line in sys.stdin:
    name, how, chosen = json.loads(line)
    try:
        if hub.is_file(name):
            found = hub.fetch_file(name, hub.Hub(**how))
        else:
            pick = lambda names: sorted(filter(read, names)) if chosen is None else chosen
            found = hub.fetch_folder(name, hub.Hub(**how), pick)
        print(json.dumps([str(found), None]), flush=True)
    except ValueError as error:
        print(json.dumps([None, str(error)]), flush=True)
"""


@dataclass
class HubProcess:
    """A Python process with its own environment that fetches files of the hub."""

    process: subprocess.Popen[str]

    def begin(self, name: str, chosen: list[str] | None = None, **how: Any) -> None:
        """Send a request, and do not wait."""
        assert self.process.stdin
        self.process.stdin.write(json.dumps([name, how, chosen]) + "\n")
        self.process.stdin.flush()

    def end(self) -> tuple[Path | None, str | None]:
        """The fetched path, or the sentence of the error."""
        assert self.process.stdout
        found, sentence = json.loads(self.process.stdout.readline())
        return Path(found) if found else None, sentence

    def fetch(self, name: str, chosen: list[str] | None = None, **how: Any) -> Path:
        """The fetched path; an error fails the test."""
        self.begin(name, chosen, **how)
        path, sentence = self.end()
        assert path and sentence is None, sentence
        return path

    def refusal(self, name: str, chosen: list[str] | None = None, **how: Any) -> str:
        """The one sentence of the error; success fails the test."""
        self.begin(name, chosen, **how)
        path, sentence = self.end()
        assert sentence and path is None and "\n" not in sentence
        return sentence


@contextmanager
def start_process(**environment: str | Path) -> Iterator[HubProcess]:
    """A process with no settings of the hub but this environment's."""
    others = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING", "TRANSF"))}
    common = {"HF_HUB_DISABLE_XET": "1", "NO_PROXY": "127.0.0.1", "PYTHONWARNINGS": "error"}
    own = others | common | {key: str(value) for key, value in environment.items()}
    command = [sys.executable, "-c", CHILD, str(ROOT / "weights/mdp_lite_weights")]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=own, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout and process.stdout.readline() == "ready\n"
        yield HubProcess(process)
        process.kill()
