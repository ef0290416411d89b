"""Models on the Hugging Face hub: recognising ids, and fetching only the files that are read."""

import glob
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from json import JSONDecodeError
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from huggingface_hub.errors import HfHubHTTPError

# huggingface_hub is imported inside functions: most models lie in a folder and never need it.

Choose = Callable[[set[str]], list[str]]
TIMEOUT = 10.0  # seconds for the hub's first answer; after that the cache is read


@dataclass(frozen=True)
class Hub:
    """How to ask the hub: for which revision, with which token, or not at all.

    A revision is a branch, a tag or a commit; a token never appears in a message.
    """

    revision: str | None = None
    token: str | None = field(default=None, repr=False)
    local_files_only: bool = False

    def __post_init__(self) -> None:
        if self.revision is not None:
            check_name(self.revision, "a revision")
        token = self.token
        if token is not None and not (isinstance(token, str) and re.fullmatch("[!-~]+", token)):
            raise ValueError('token must be one word of plain characters, such as "hf_..."')


@dataclass(frozen=True)
class HubSetup:
    """How the hub is reached from here: the cache's folder, and what the environment says.

    has_token: there is a token, in the environment or in the hub's own file; it is not read.
    """

    cache: Path
    endpoint: str
    offline: bool
    has_token: bool


def read_setup() -> HubSetup:
    """The hub's settings in this process; nothing is asked and nothing is written."""
    from huggingface_hub import constants, is_offline_mode

    has_token = bool(os.environ.get("HF_TOKEN")) or os.path.isfile(constants.HF_TOKEN_PATH)
    cache = Path(constants.HF_HUB_CACHE)
    return HubSetup(cache, constants.ENDPOINT, is_offline_mode(), has_token)


def check_name(name: str, what: str = "a file name") -> str:
    """Return a plain relative path such as unet/config.json; raises ValueError for others."""
    plain = isinstance(name, str) and name.isprintable() and not set(name) & set('\\:*?"<>|')
    # Windows drops dots and spaces at the end, so that ".. " is ".." there.
    if not plain or len(name) > 255 or any(part.strip(". ") == "" for part in name.split("/")):
        raise ValueError(f"{what} must be a plain relative path, got {repr(name)[:100]}")
    return name


def is_repo(name: str) -> bool:
    """Whether a name has the form org/name and is nothing on disk."""
    return _is_id(name) and not os.path.exists(name)


def is_file(name: str) -> bool:
    """Whether a name has the form org/name/file.safetensors and is nothing on disk."""
    repo, file = _split(name)
    return "." in file.rpartition("/")[2] and _is_id(repo) and not os.path.exists(name)


def fetch_file(name: str, hub: Hub) -> Path:
    """The local copy of org/name/some/file.safetensors, fetched if need be."""
    repo, file = _split(check_name(name))
    return fetch_folder(repo, hub, lambda names: [file]) / file


def fetch_folder(repo: str, hub: Hub, choose: Choose) -> Path:
    """A local folder with the files that `choose` picks from all names in a repository.

    If the hub does not answer, a complete copy in the cache is used. Raises ValueError if the hub
    refuses.
    """
    from huggingface_hub import constants, is_offline_mode
    from huggingface_hub.errors import HfHubHTTPError, HTTPError

    if not _is_id(repo):
        raise ValueError(f'a hub id must have the form "org/name", got {repr(repo)[:100]}')
    if hub.local_files_only or is_offline_mode():
        order = "local_files_only" if hub.local_files_only else "HF_HUB_OFFLINE"
        return _find_in_cache(repo, hub, choose, f"the hub may not be asked ({order})")
    try:
        return _fetch_from_hub(repo, hub, choose)
    except HfHubHTTPError as error:
        status = error.response.status_code
        if status < 500 and status != 429:  # 429: too many requests, which is not an answer
            raise ValueError(_refusal(error, repo, hub)) from None
        why = f"{constants.ENDPOINT} answered with status {status}"
    except (HTTPError, JSONDecodeError) as error:
        why = f"{constants.ENDPOINT} gave no usable answer ({_first_line(error)})"
    except (OSError, RuntimeError) as error:  # a full disk, a file of another size
        where = f"could not be fetched into the cache {constants.HF_HUB_CACHE}"
        raise ValueError(f"{_describe(repo, hub)} {where}: {_first_line(error)}") from None
    return _find_in_cache(repo, hub, choose, why)


def _fetch_from_hub(repo: str, hub: Hub, choose: Choose) -> Path:
    from huggingface_hub import HfApi, snapshot_download

    # One answer holds the commit and all its files.
    info = HfApi(token=hub.token).model_info(repo, revision=hub.revision, timeout=TIMEOUT)
    names = {file.rfilename for file in info.siblings or ()}
    chosen = _pick(choose, names, names, f"{_describe(repo, hub)} on the hub")
    # By the revision's name, so that the cache stores its commit for use without a network.
    found = snapshot_download(
        repo,
        revision=hub.revision,
        token=hub.token,
        allow_patterns=[glob.escape(name) for name in chosen],
    )
    if Path(found).name != info.sha:
        raise ValueError(f"{_describe(repo, hub)} changed on the hub while it was read: try again")
    return Path(found)


def _find_in_cache(repo: str, hub: Hub, choose: Choose, why: str) -> Path:
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:  # no pattern: `_pick` checks below whether the copy is complete
        found = snapshot_download(
            repo, revision=hub.revision, local_files_only=True, allow_patterns=[]
        )
    except LocalEntryNotFoundError:
        where = f"is not in the cache {constants.HF_HUB_CACHE}"
        todo = "fetch it once with the network, or name a folder on disk"
        raise ValueError(f"{_describe(repo, hub)} {where}, and {why}: {todo}") from None
    folder = Path(found)
    here = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    try:
        _pick(
            choose,
            here | _list_small_files(repo, folder.name),
            here,
            f"{repo} in the cache {folder}",
        )
    except ValueError as error:
        raise ValueError(f"{error}, and {why}") from None
    return folder


def _list_small_files(repo: str, commit: str) -> set[str]:
    """The small files of a commit, present or not, as far as the cache knows.

    Without this list, half a download would look like a model without these files. Weights are
    left out: only one of several variants need be present.
    """
    from huggingface_hub import get_cached_repo_tree
    from huggingface_hub.errors import CachedRepoTreeNotFoundError

    try:
        names = {file.path for file in get_cached_repo_tree(repo, revision=commit)}
    except CachedRepoTreeNotFoundError:
        return set()
    return {n for n in names if n.endswith((".json", ".txt")) and ".safetensors" not in n}


def _pick(choose: Choose, names: set[str], here: set[str], where: str) -> list[str]:
    """The names that `choose` picks; raises ValueError (where: ...) if one is not here."""
    try:
        chosen = [check_name(name) for name in choose(names)]
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    missing = [name for name in chosen if name not in here]
    if missing:
        more = f" and {len(missing) - 1} more" if missing[1:] else ""
        raise ValueError(f"{where} has no {missing[0]}{more}")
    return chosen


def _refusal(error: "HfHubHTTPError", repo: str, hub: Hub) -> str:
    from huggingface_hub import constants
    from huggingface_hub.errors import GatedRepoError, RevisionNotFoundError

    status = error.response.status_code
    if isinstance(error, GatedRepoError):
        page = f"{constants.ENDPOINT}/{repo}"
        return f"{repo} is gated: accept its licence at {page}, then give a token (or HF_TOKEN)"
    if isinstance(error, RevisionNotFoundError):
        return f"{repo} has no revision {hub.revision or 'main'!r} on the hub"
    if status in (401, 404):
        return (
            f"{repo} is nothing on disk, and the hub shows no such repository: check the name, "
            "give a token (or HF_TOKEN) if private, or local_files_only if it is in the cache"
        )
    return f"the hub refused {repo} with status {status}: check what the token may read"


def _is_id(name: str) -> bool:
    # Stricter than older versions of the library: an organisation, and no letters beyond ASCII.
    # It comes first: other names then cost no import of the library, a fifteenth of a second.
    if name.count("/") != 1 or not name.isascii() or not name.isprintable():
        return False
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return True


def _split(name: str) -> tuple[str, str]:
    parts = name.split("/", 2)
    return "/".join(parts[:2]), "/".join(parts[2:])


def _describe(repo: str, hub: Hub) -> str:
    return f"{repo} (revision {hub.revision or 'main'})"


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
