"""The hub: ids, the cache with and without a network, and what a download fetches."""

import re
from pathlib import Path

import huggingface_hub
import pytest

from mdp_lite_weights.hub import Hub, check_name, fetch_file, fetch_folder, is_file, is_repo
from support.hub_cache import commit_of, start_process, write_listing, write_snapshot

REPO = "org/model"
UNET, FP16 = "unet/model.safetensors", "unet/model.fp16.safetensors"
FILES = {"unet/config.json": b"{}", UNET: b"weights" * 9}
# A repository as they are: pickles and half precision beside what is read.
FULL = FILES | {FP16: b"half", "unet/model.bin": b"pickle", "v1.ckpt": b"pickle", "README.md": b"#"}
NEWER = FILES | {"unet/config.json": b'{"newer": 1}'}
CACHED = Hub(local_files_only=True)
NOBODY = "http://127.0.0.1:9"  # nobody listens there


def all_of(names: set[str]) -> list[str]:
    return sorted(names)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of this test's own, as HF_HUB_CACHE would name it before the library is imported."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


# Ids and names


@pytest.mark.parametrize("name", ["org/name", "stable-diffusion-v1-5/sd_v1.5", "a/b", "A.b/c-d"])
def test_an_id_is_a_repository(name: str) -> None:
    assert is_repo(name)
    assert is_file(f"{name}/unet/model.safetensors") and is_file(f"{name}/model.safetensors")
    assert not is_file(name) and not is_repo(f"{name}/model.safetensors")


NO_IDS = (
    "|tiny|../name|./name|org/..|org/.|/org/name|org/|/name|org//name|org/na me|org/name\n|"
    "org\\name|org/a--b|org/a..b|org/name.git|org/-name|org/name-|C:/name|\xe9/b|"
    "https://huggingface.co/org/name|org/name@main|org/na\0me"
).split("|")


@pytest.mark.parametrize("name", [*NO_IDS, f"org/{'x' * 97}"])
def test_other_names_are_no_repositories(name: str) -> None:
    assert not is_repo(name)
    with pytest.raises(ValueError, match='a hub id must have the form "org/name", got'):
        fetch_folder(name, CACHED, all_of)


def test_what_is_on_disk_is_no_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "org/name").mkdir(parents=True)
    (tmp_path / "org/name/a.safetensors").touch()
    assert not is_repo("org/name") and not is_file("org/name/a.safetensors")
    assert is_repo("org/other") and is_file("org/name/b.safetensors")


UNSAFE = ("|/a|a//b|a/|..|../a|a/../../b|a/.|a/.. /b|a\\b|..\\a|C:a|C:/a|a\0b|a\nb|a*|a?").split(
    "|"
)


@pytest.mark.parametrize("name", [*UNSAFE, "a|b", "x" * 256])
def test_a_file_name_must_be_plain(name: str) -> None:
    with pytest.raises(ValueError, match="a file name must be a plain relative path, got '"):
        check_name(name)
    with pytest.raises(ValueError, match="a file name must be a plain relative path, got '"):
        fetch_file(f"org/name/{name}", CACHED)
    with pytest.raises(ValueError, match="a revision must be a plain relative path, got '"):
        Hub(revision=name)


def test_plain_names_pass() -> None:
    for name in ("a.safetensors", "unet/a-00001-of-00002.bin", "a b/(c) [d].x", "refs/pr/1"):
        assert check_name(name) == name


@pytest.mark.parametrize("token", ["", "hf_a b", "hf_secret\n", "hf_\xe9", 7])
def test_a_token_is_one_word_and_never_shown(token: str) -> None:
    with pytest.raises(ValueError, match="^token must be one word of plain characters, such as"):
        Hub(token=token)
    assert "secret" not in repr(Hub(token="hf_secret"))


# The cache alone


def test_the_fabricated_cache_is_one_to_the_library(cache: Path) -> None:
    snapshot = write_snapshot(cache, REPO, FILES)
    found = huggingface_hub.scan_cache_dir(cache)
    (repo,) = found.repos
    (revision,) = repo.revisions
    assert not found.warnings and (repo.repo_id, revision.refs) == (REPO, {"main"})
    assert revision.snapshot_path == snapshot and revision.nb_files == len(FILES)


def test_a_hit_in_the_cache(cache: Path) -> None:
    snapshot = write_snapshot(cache, REPO, FILES)
    seen: set[str] = set()
    folder = fetch_folder(REPO, CACHED, lambda names: sorted(seen.update(names) or names))
    assert folder == snapshot and seen == set(FILES)
    assert {name: (folder / name).read_bytes() for name in FILES} == FILES
    assert fetch_file(f"{REPO}/{UNET}", CACHED) == snapshot / UNET


def test_a_miss_names_the_cache(cache: Path) -> None:
    sentence = (
        f"org/model (revision main) is not in the cache {cache}, and the hub may not be asked "
        "(local_files_only): fetch it once with the network, or name a folder on disk"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        fetch_folder(REPO, CACHED, all_of)
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        fetch_file(f"{REPO}/{UNET}", CACHED)


def test_a_revision_is_pinned(cache: Path) -> None:
    old = write_snapshot(cache, REPO, FILES, ref="v1.0")
    new = write_snapshot(cache, REPO, NEWER)
    pull = write_snapshot(cache, REPO, FULL, ref="refs/pr/1")
    wanted = {None: new, "main": new, "v1.0": old, old.name: old, new.name: new, "refs/pr/1": pull}
    for revision, snapshot in wanted.items():
        hub = Hub(revision, local_files_only=True)
        assert fetch_folder(REPO, hub, all_of) == snapshot
        assert fetch_file(f"{REPO}/{UNET}", hub) == snapshot / UNET


@pytest.mark.parametrize("revision", ["v2", "0" * 40, commit_of(FILES)[:7]])
def test_an_unknown_revision_is_a_miss(revision: str, cache: Path) -> None:
    write_snapshot(cache, REPO, FILES)
    with pytest.raises(ValueError, match=rf"org/model \(revision {revision}\) is not in the cache"):
        fetch_folder(REPO, Hub(revision, local_files_only=True), all_of)


def test_a_file_that_is_not_in_the_copy(cache: Path) -> None:
    snapshot = write_snapshot(cache, REPO, FILES)
    where = re.escape(f"org/model in the cache {snapshot}")
    with pytest.raises(ValueError, match=f"^{where} has no a.bin and 1 more, and the hub"):
        fetch_folder(REPO, CACHED, lambda names: [UNET, "a.bin", "b.bin"])
    (snapshot / UNET).resolve().unlink()  # a link to nothing: its blob was deleted
    with pytest.raises(ValueError, match=f"^{where} has no {UNET}, and the hub may not be asked"):
        fetch_file(f"{REPO}/{UNET}", CACHED)


def test_half_a_download_is_no_copy(cache: Path) -> None:
    """The listing knows of a small file that never came; without it the model would be another."""
    snapshot = write_snapshot(cache, REPO, {UNET: b"weights"})
    fetch_folder(REPO, CACHED, all_of)
    write_listing(snapshot, list(FULL))
    with pytest.raises(ValueError, match="has no unet/config.json, and the hub may not be asked"):
        fetch_folder(REPO, CACHED, all_of)


def test_of_the_weights_those_at_hand_are_chosen_from(cache: Path) -> None:
    snapshot = write_snapshot(cache, REPO, {"unet/config.json": b"{}", FP16: b"half"})
    shards = f"{UNET}.index.json"
    write_listing(snapshot, [*FULL, shards])
    first = lambda names: [next(n for n in (UNET, shards, FP16) if n in names)]  # noqa: E731
    assert fetch_folder(REPO, CACHED, first) == snapshot


def test_what_the_choice_says_is_passed_on(cache: Path) -> None:
    write_snapshot(cache, REPO, FILES)

    def refuse(names: set[str]) -> list[str]:
        raise ValueError(f"vae must hold weights; found {len(names)} other files")

    with pytest.raises(ValueError, match="vae must hold weights; found 2 other files, and the"):
        fetch_folder(REPO, CACHED, refuse)
    with pytest.raises(ValueError, match="a file name must be a plain relative path, got '../a'"):
        fetch_folder(REPO, CACHED, lambda names: ["../a"])


def test_the_environment_is_honoured(tmp_path: Path) -> None:
    home, cache = tmp_path / "home", tmp_path / "cache"
    first = write_snapshot(home / "hub", REPO, FILES)
    second = write_snapshot(cache, REPO, NEWER)
    with start_process(HF_HOME=home, HF_HUB_OFFLINE="1") as asker:
        assert asker.fetch(REPO) == first
        assert asker.fetch(f"{REPO}/{UNET}") == first / UNET
        sentence = asker.refusal("org/other")
        assert f"org/other (revision main) is not in the cache {home / 'hub'}, and" in sentence
        assert "the hub may not be asked (HF_HUB_OFFLINE)" in sentence
    with start_process(HF_HOME=home, HF_HUB_CACHE=cache, HF_ENDPOINT=NOBODY) as asker:  # no network
        assert asker.fetch(REPO) == second
        assert f"is not in the cache {cache}, and {NOBODY} gave no" in asker.refusal("org/other")
        assert "(revision v2) is not in the cache" in asker.refusal(REPO, revision="v2")
