"""Downloads from a hub on this machine: what is asked for, as whom, and what may go wrong."""

from collections.abc import Iterator

import pytest

from support.hub_cache import FakeHub, HubProcess, commit_of, serving, start_process, write_snapshot

CONFIG, UNET, FP16 = "unet/config.json", "unet/model.safetensors", "unet/model.fp16.safetensors"
FILES = {CONFIG: b"{}", UNET: b"weights"}
# A repository as they are: pickles and half precision beside what is read.
FULL = FILES | {FP16: b"half", "unet/model.bin": b"pickle", "v1.ckpt": b"pickle", "README.md": b"#"}
NEWER = FILES | {CONFIG: b'{"newer": 1}'}


@pytest.fixture(scope="module")
def hub() -> Iterator[FakeHub]:
    """A hub; each test uses another repository."""
    with serving() as hub:
        yield hub


@pytest.fixture(scope="module")
def asker(hub: FakeHub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    """A process that asks it, with an empty cache and no token."""
    with start_process(HF_ENDPOINT=hub.url, HF_HOME=tmp_path_factory.mktemp("home")) as asker:
        yield asker


def test_exactly_the_chosen_files_are_downloaded(hub: FakeHub, asker: HubProcess) -> None:
    commit = hub.add("org/exact", FULL)
    folder = asker.fetch("org/exact")
    assert folder.name == commit
    assert {n: (folder / n).read_bytes() for n in FILES} == FILES
    assert sorted(p.name for p in folder.rglob("*.*")) == ["config.json", "model.safetensors"]
    assert not [r for r in hub.requests if r.path.endswith((".ckpt", ".bin", "fp16.safetensors"))]
    assert hub.downloads("org/exact") == sorted(FILES)
    assert asker.fetch("org/exact") == folder
    assert asker.fetch("org/exact", local_files_only=True) == folder
    assert asker.fetch(f"org/exact/{UNET}") == folder / UNET
    assert hub.downloads("org/exact") == []


def test_a_single_file_alone_is_downloaded(hub: FakeHub, asker: HubProcess) -> None:
    hub.add("org/single", FULL)
    assert asker.fetch(f"org/single/{FP16}").read_bytes() == b"half"
    assert hub.downloads("org/single") == [FP16]
    sentence = asker.refusal("org/single/vae/model.safetensors")
    assert sentence == "org/single (revision main) on the hub has no vae/model.safetensors"


def test_a_name_is_no_pattern(hub: FakeHub, asker: HubProcess) -> None:
    names = ["a[12].safetensors", "a1.safetensors", "a2.safetensors"]
    hub.add("org/pattern", {name: name.encode() for name in names})
    asker.fetch("org/pattern", names[:1])
    assert hub.downloads("org/pattern") == ["a%5B12%5D.safetensors"]


def test_a_revision_is_pinned_and_remembered(hub: FakeHub, asker: HubProcess) -> None:
    old, new = hub.add("org/pinned", FILES, "v1.0"), hub.add("org/pinned", NEWER)
    pull = hub.add("org/pinned", FULL, "refs/pr/1")
    for revision, commit in (("v1.0", old), (None, new), (old, old), ("refs/pr/1", pull)):
        assert asker.fetch("org/pinned", revision=revision).name == commit
        assert asker.fetch("org/pinned", revision=revision, local_files_only=True).name == commit
    sentence = asker.refusal("org/pinned", revision="v2")
    assert sentence == "org/pinned has no revision 'v2' on the hub"
    assert "has no revision '0000" in asker.refusal("org/pinned", revision="0" * 40)


def test_the_token_is_sent(hub: FakeHub, asker: HubProcess, tmp_path_factory) -> None:
    hub.add("org/token", FILES)
    hub.requests.clear()
    asker.fetch("org/token", [CONFIG])
    assert {r.token for r in hub.requests} == {None}
    hub.requests.clear()
    asker.fetch("org/token", [UNET], token="hf_mine")
    assert {r.method for r in hub.requests} == {"GET", "HEAD"}
    assert {r.token for r in hub.requests} == {"Bearer hf_mine"}
    with start_process(
        HF_ENDPOINT=hub.url, HF_HOME=tmp_path_factory.mktemp("home"), HF_TOKEN="hf_set"
    ) as other:
        hub.requests.clear()
        other.fetch("org/token")
    assert len(hub.requests) >= 4 and {r.token for r in hub.requests} == {"Bearer hf_set"}


def test_an_interrupted_download_goes_on(hub: FakeHub, asker: HubProcess) -> None:
    data = bytes(range(256)) * (24 * 2**12)  # 24 MiB: the library writes 10 MiB at a time
    hub.add("org/cut", {UNET: data})
    hub.faults[f"org/cut/{UNET}"] = "cut"
    hub.requests.clear()
    assert asker.fetch(f"org/cut/{UNET}").read_bytes() == data
    ranges = [r.range for r in hub.requests if r.method == "GET" and r.path.endswith(UNET)]
    assert ranges == [None, f"bytes={10 * 2**20}-"]


def test_a_failed_download_is_made_whole(hub: FakeHub, asker: HubProcess) -> None:
    hub.add("org/failed", FILES)
    hub.faults[f"org/failed/{UNET}"] = (500, "")
    sentence = asker.refusal("org/failed", sorted(FILES))
    assert f"has no {UNET}, and {hub.url} answered with status 500" in sentence
    assert hub.downloads("org/failed") == sorted(FILES)
    del hub.faults[f"org/failed/{UNET}"]
    assert (asker.fetch("org/failed") / UNET).read_bytes() == FILES[UNET]
    assert hub.downloads("org/failed") == [UNET]


def test_a_killed_download_is_made_whole(
    hub: FakeHub, tmp_path_factory: pytest.TempPathFactory
) -> None:
    home = tmp_path_factory.mktemp("home")
    hub.add("org/killed", FILES)
    hub.faults[f"org/killed/{UNET}"] = "hang"
    hub.hung.clear()
    with start_process(HF_ENDPOINT=hub.url, HF_HOME=home) as asker:
        asker.begin(f"org/killed/{UNET}")
        assert hub.hung.wait(10)
        asker.process.kill()
    hub.faults.clear()
    with start_process(HF_ENDPOINT=hub.url, HF_HOME=home) as asker:
        sentence = asker.refusal(f"org/killed/{UNET}", local_files_only=True)
        assert f"has no {UNET}, and the hub may not be asked" in sentence
        assert asker.fetch(f"org/killed/{UNET}").read_bytes() == FILES[UNET]


NOTHING = "is nothing on disk, and the hub shows no such repository: check the name, give a token"
REFUSALS = {
    "unauthorised": ((401, ""), NOTHING),
    "not found": ((404, "RepoNotFound"), NOTHING),
    "gated": ((403, "GatedRepo"), "is gated: accept its licence at {url}/{repo}, then give a"),
    "forbidden": ((403, ""), "the hub refused {repo} with status 403: check what the token may"),
}


@pytest.mark.parametrize("at", ["", f"/{UNET}"], ids=["listing", "file"])
@pytest.mark.parametrize("name", REFUSALS)
def test_a_refusal_is_one_sentence(name: str, at: str, hub: FakeHub, asker: HubProcess) -> None:
    repo = f"org/{name.replace(' ', '-')}{len(at)}"
    hub.add(repo, FILES)
    hub.faults[repo + at], sentence = REFUSALS[name]
    refused = asker.refusal(repo, token="hf_secret")
    assert sentence.format(url=hub.url, repo=repo) in refused and repo in refused
    assert "secret" not in refused


def test_no_such_repository(asker: HubProcess) -> None:
    assert asker.refusal("org/nobody").startswith(f"org/nobody {NOTHING}")


SILENCE = {"down": (503, ""), "busy": (429, ""), "slow": "hang", "another": "page"}


@pytest.mark.representative("down", "slow")
@pytest.mark.parametrize("name", SILENCE)
def test_no_answer_and_the_cache(name: str, hub: FakeHub, asker: HubProcess) -> None:
    """A hub that is down, busy, slow, or not a hub at all; with a whole copy that is no error."""
    repo, fault = f"org/{name}", SILENCE[name]
    hub.add(repo, FILES)
    hub.faults[repo] = fault
    sentence = asker.refusal(repo)
    assert "is not in the cache" in sentence and f", and {hub.url} " in sentence
    del hub.faults[repo]
    folder = asker.fetch(repo)
    hub.faults[repo] = fault
    assert asker.fetch(repo) == folder
    assert f"in the cache {folder} has no a.bin, and {hub.url} " in asker.refusal(repo, ["a.bin"])


def test_a_repository_that_changes_meanwhile(hub: FakeHub, asker: HubProcess) -> None:
    hub.add("org/moving", FILES)
    hub.faults["org/moving"] = "moves"
    sentence = asker.refusal("org/moving")
    assert sentence.endswith("(revision main) changed on the hub while it was read: try again")
    del hub.faults["org/moving"]
    assert asker.fetch("org/moving").name == commit_of(FILES | {"new": b""})


def test_a_file_of_another_size(hub: FakeHub, asker: HubProcess) -> None:
    hub.add("org/short", FILES)
    hub.faults[f"org/short/{UNET}"] = "short"
    sentence = asker.refusal("org/short")
    assert "could not be fetched into the cache" in sentence and "should be of size 7" in sentence
    del hub.faults[f"org/short/{UNET}"]
    assert (asker.fetch("org/short") / UNET).read_bytes() == FILES[UNET]


def test_a_cache_that_cannot_be_written(hub: FakeHub, asker: HubProcess) -> None:
    hub.add("org/before", FILES)
    hub.add("org/blocked", FILES)
    cache = asker.fetch("org/before").parents[2]
    (cache / "models--org--blocked").touch()  # a file where the repository's folder would be
    sentence = asker.refusal("org/blocked")
    assert f"(revision main) could not be fetched into the cache {cache}: [Errno " in sentence


def test_a_download_is_laid_out_as_the_fabricated_cache(hub: FakeHub, asker: HubProcess) -> None:
    hub.add("org/layout", FILES)
    real = asker.fetch("org/layout")
    own = write_snapshot(real.parents[2] / "own", "org/layout", FILES)
    for snapshot in (real, own):
        assert (snapshot.parents[1] / "refs/main").read_text() == commit_of(FILES)
        links = [(snapshot / name).readlink() for name in FILES]
        assert links == [(own / name).readlink() for name in FILES]
