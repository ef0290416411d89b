"""--jobs FOLDER is tried by a dry run as by the real start: the same sentence, nothing written.

The other options of jobs are read here too.
"""

import errno
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from mdp_lite.__main__ import main
from mdp_lite.editor import Editor
from mdp_lite.names import BadInput
from mdp_lite.serve.app import application
from mdp_lite.serve.options import parse_limits, read_keys, read_secret
from mdp_lite.serve.queue import database
from mdp_lite.serve.queue.database import NAME, VERSION, Database, check_folder
from mdp_lite.serve.settings import JobSettings, Limits, ServiceSettings
from support.serving import KEY

DATABASE = "--jobs must be a folder with a usable database, got"
BAD = {  # options, and what is said of them
    "--jobs file": "--jobs must be a folder, got a file: ",
    "--jobs file/far/below": "--jobs must be a folder, got a file: ",
    "--jobs closed": "--jobs must be a folder that can be written, got no permission: 'closed'",
    "--jobs closed/far": "--jobs must be a folder that can be written, got no permission: ",
    "--jobs locked": f"{DATABASE} 'database is locked': ",
    "--jobs damaged": f"{DATABASE} 'file is not a database': ",
    "--jobs newer": f"made its tables: version 99, this one reads up to {VERSION}",
    "--cache cache": "--jobs must be a folder, got a file: ",
}


@pytest.fixture
def folder(tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with all that is wrong; in the one called closed nobody, root neither, may write."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(database, "TRY", 0.05)
    (tmp_path / "model").symlink_to(checkpoint)
    for name in ("closed", "locked", "damaged", "newer", "cache"):
        Path(name).mkdir()
    Path("file").touch()
    Path("cache/jobs").touch()
    (tmp_path / "damaged" / NAME).write_bytes(b"no database" * 100)
    with closing(sqlite3.connect(tmp_path / "newer" / NAME)) as connection:
        connection.execute("PRAGMA user_version = 99")
    plain = tempfile.TemporaryFile

    def refuse(*words: Any, dir: Any = None, **how: Any) -> Any:
        if Path(dir or ".").absolute() == tmp_path / "closed":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return plain(*words, dir=dir, **how)

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with closing(sqlite3.connect(tmp_path / "locked" / NAME, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield tmp_path


def run(options: str, *more: str) -> int:
    line = ["serve", "--model", "model", "--device", "cpu", "--port", "0", *options.split()]
    return main([*line, *more])


@pytest.mark.parametrize("dry", [True, False], ids=["dry", "real"])
@pytest.mark.parametrize("options", BAD)
def test_a_bad_folder_is_refused_before_it_serves(
    options: str, dry: bool, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(folder.rglob("*"))
    assert run(options, *(["--dry-run"] if dry else [])) == 2
    said = capsys.readouterr().err
    assert said.startswith("mdp-lite: ") and BAD[options] in said and "Traceback" not in said
    assert sorted(folder.rglob("*")) == before


def test_a_folder_that_can_be_made_is_not_made_by_a_dry_run(folder: Path) -> None:
    before = sorted(folder.rglob("*"))
    assert run("--jobs new/far/below", "--dry-run") == 0
    assert sorted(folder.rglob("*")) == before


def test_a_folder_that_a_server_uses_is_fine(folder: Path) -> None:
    """Processes share a folder: a lock that is soon released is waited for."""
    one = Database(folder / "shared")
    one.open()
    with one.transaction():
        assert run("--jobs shared", "--dry-run") == 2
    assert run("--jobs shared", "--dry-run") == 0
    one.connection.close()


def test_folders_that_are_none(tmp_path: Path, editor: Editor) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadInput, match="jobs must be a folder"):
        Database(tmp_path / "file").open()
    with pytest.raises(BadInput, match="jobs must be a folder"):
        application(editor, ServiceSettings(jobs=JobSettings(str(tmp_path / "file"))))
    with sqlite3.connect(tmp_path / NAME) as connection:
        connection.execute("PRAGMA user_version = 99")
    for start in (Database(tmp_path).open, lambda: check_folder(tmp_path)):
        with pytest.raises(BadInput, match=r"a newer mdp-lite .* version 99, .* up to 2"):
            start()


def test_options_of_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert parse_limits(["stored-jobs=2", "job_seconds=5"]) == Limits(stored_jobs=2, job_seconds=5)
    file = tmp_path / "keys"
    file.write_text(f"{KEY} priority=5\n{'o' * 20}\n")
    assert read_keys(str(file)) == {KEY: 5, "o" * 20: 0}
    for bad in ("priority=11", "priority=-1", "priority=a", "priority=1 priority=2", "admin"):
        file.write_text(f"{KEY} {bad}\n")
        with pytest.raises(BadInput, match="priority=N") as caught:
            read_keys(str(file))
        assert KEY not in str(caught.value)
    file.write_text("\n")
    for bad in (str(file), str(tmp_path)):
        with pytest.raises(BadInput, match="webhook-secret-file"):
            read_secret(bad)
    file.write_text(" whsec_x\n")
    assert read_secret(str(file)) == "whsec_x" and read_secret(None) is None
    monkeypatch.setenv("MDP_LITE_WEBHOOK_SECRET", "whsec_y")
    assert read_secret(None) == "whsec_y"
