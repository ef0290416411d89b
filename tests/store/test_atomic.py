"""Writing files: links, permissions, devices, long names, and what an error says."""

import errno
import os
import pickle
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mdp_lite.files import atomic
from mdp_lite.names import CannotWrite, MdpError
from mdp_lite.pictures import images
from support.file_writers import noise
from support.places import ROOT

POSIX = pytest.mark.skipif(os.name != "posix", reason="permissions and pipes of POSIX")


def list_names(folder: Path) -> list[str]:
    return sorted(one.name for one in folder.iterdir())


def test_a_file_is_replaced_and_nothing_else_is_there(tmp_path: Path) -> None:
    for data in (b"old", b"new"):
        atomic.write(tmp_path / "new" / "a", data)
        assert (tmp_path / "new" / "a").read_bytes() == data
    assert list_names(tmp_path / "new") == ["a"]


@POSIX
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_a_new_file_follows_the_umask(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        atomic.write(tmp_path / "a", b"")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == mode


@POSIX
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o666, 0o755])
def test_permissions_of_an_old_file_stay(tmp_path: Path, mode: int) -> None:
    (tmp_path / "a").write_bytes(b"old")
    (tmp_path / "a").chmod(mode)
    atomic.write(tmp_path / "a", b"new")
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == mode


@pytest.fixture
def nobody(tmp_path: Path) -> Iterator[None]:
    """Another user than root, who may do everything: the tests' own, or the one of this folder."""
    if os.name != "posix" or os.geteuid() != 0:
        yield
        return
    before = tmp_path.stat()
    folders = [one for one in tmp_path.parents if one.stat().st_uid == 0 and one != Path("/")]
    modes = {one: one.stat().st_mode for one in folders}
    for one in folders:
        one.chmod(modes[one] | 0o011)
    os.chown(tmp_path, 65_534, 65_534)
    os.seteuid(65_534)
    yield
    os.seteuid(0)
    os.chown(tmp_path, before.st_uid, before.st_gid)
    for one in folders:
        one.chmod(modes[one])


@POSIX
@pytest.mark.usefixtures("nobody")
def test_a_file_that_may_not_be_written_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    (tmp_path / "a").chmod(0o444)
    with pytest.raises(CannotWrite, match="a can't be written: Permission denied$"):
        atomic.write(tmp_path / "a", b"new")
    with pytest.raises(ValueError, match="output must be writable, got 'Permission denied'"):
        images.check_output(tmp_path / "a", None)
    assert (tmp_path / "a").read_bytes() == b"old" and list_names(tmp_path) == ["a"]


@POSIX
@pytest.mark.parametrize("there", [True, False])
def test_the_file_behind_a_link_is_replaced_not_the_link(tmp_path: Path, there: bool) -> None:
    (tmp_path / "far").mkdir()
    if there:
        (tmp_path / "far" / "a").write_bytes(b"old")
    (tmp_path / "link").symlink_to("second")
    (tmp_path / "second").symlink_to(Path("far") / "a")
    atomic.check(tmp_path / "link")
    atomic.write(tmp_path / "link", b"new")
    assert (tmp_path / "far" / "a").read_bytes() == b"new"
    assert (tmp_path / "link").is_symlink() and (tmp_path / "second").is_symlink()
    assert list_names(tmp_path / "far") == ["a"]


@POSIX
def test_a_link_to_itself_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("a")
    with pytest.raises(CannotWrite, match=f"{os.strerror(errno.ELOOP)}$"):
        atomic.write(tmp_path / "a", b"new")
    assert (tmp_path / "a").is_symlink()


@pytest.mark.parametrize("name", ["x" * 255, "é" * 127, "\N{HOUSE BUILDING}" * 63])
def test_the_longest_names_can_be_written(tmp_path: Path, name: str) -> None:
    atomic.check(tmp_path / name)
    atomic.write(tmp_path / name, b"new")
    assert list_names(tmp_path) == [name]


def test_a_name_that_is_too_long_is_an_error_before_and_after(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 256)
    with pytest.raises(CannotWrite, match="File name too long$"):
        atomic.write(path, b"new")
    with pytest.raises(ValueError, match="output must be writable, got 'File name too long'"):
        images.check_output(path, None)
    assert list_names(tmp_path) == []


def test_a_folder_is_not_replaced(tmp_path: Path) -> None:
    with pytest.raises(CannotWrite, match="Is a directory$"):
        atomic.write(tmp_path, b"new")


@POSIX
def test_devices_are_written_into(tmp_path: Path) -> None:
    for name in ("/dev/null", "/dev/full"):
        if not Path(name).exists():
            pytest.skip(f"no {name}")
        images.check_output(Path(name), None)
    atomic.write(Path("/dev/null"), b"new")
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)
    with pytest.raises(CannotWrite, match="^/dev/full can't be written: No space left on device$"):
        atomic.write(Path("/dev/full"), b"new")


@POSIX
def test_a_pipe_is_written_into_and_one_that_closes_is_an_error(tmp_path: Path) -> None:
    path, got = tmp_path / "pipe", list[bytes]()
    os.mkfifo(path)
    for size in (-1, 10):
        reader = threading.Thread(target=lambda n=size: got.append(read_some(path, n)))
        reader.start()
        if size == -1:
            atomic.write(path, b"x" * 200_000)
        else:
            with pytest.raises(CannotWrite, match="pipe can't be written: Broken pipe$"):
                atomic.write(path, b"x" * 2_000_000)
        reader.join()
    assert [len(one) for one in got] == [200_000, 10]
    assert stat.S_ISFIFO(path.stat().st_mode) and list_names(tmp_path) == ["pipe"]


def read_some(path: Path, size: int) -> bytes:
    with open(path, "rb", buffering=0) as file:
        return file.read(size)


CODE = """
import sys
from pathlib import Path
from mdp_lite.files import atomic
print("before", flush=True)
atomic.write(Path(sys.argv[1]), b"x" * 300_000 + b"\\n")
print("after")
"""


@POSIX
@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
@pytest.mark.parametrize("target", ["pipe", "file"])
def test_stdout_has_what_was_printed_before_and_after(
    tmp_path: Path, name: str, target: str
) -> None:
    if not Path(name).exists():
        pytest.skip(f"no {name}")
    line, env = [sys.executable, "-c", CODE, name], os.environ | {"PYTHONPATH": str(ROOT)}
    if target == "pipe":
        out = subprocess.run(line, env=env, stdout=subprocess.PIPE, check=True).stdout
    else:
        (tmp_path / "log").write_bytes(b"old\n")
        with open(tmp_path / "log", "ab") as file:
            subprocess.run(line, env=env, stdout=file, check=True)
        out = (tmp_path / "log").read_bytes().removeprefix(b"old\n")
    assert out == b"before\n" + b"x" * 300_000 + b"\nafter\n"


def test_an_error_is_ours_and_the_system_s(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(CannotWrite) as caught:
        atomic.write(tmp_path / "file" / "a", b"new")
    error = caught.value
    assert isinstance(error, MdpError) and isinstance(error, OSError)
    assert not isinstance(error, ValueError)
    assert (error.errno, error.filename) == (errno.ENOTDIR, str(tmp_path / "file" / "a"))
    assert str(pickle.loads(pickle.dumps(error))) == str(error)  # from a worker to its batch


def test_several_files_say_which_were_written(tmp_path: Path) -> None:
    (tmp_path / "c").mkdir()
    files = [(tmp_path / name, b"new") for name in "abc"]
    with pytest.raises(CannotWrite) as caught:
        atomic.write_each(files)
    want = f"{tmp_path / 'c'} can't be written: Is a directory; written before it: "
    assert str(caught.value) == f"{want}{tmp_path / 'a'}, {tmp_path / 'b'}"
    assert atomic.write_each(files[:2]) == [tmp_path / "a", tmp_path / "b"]


def test_old_temporary_files_are_removed_by_the_next_command_and_no_other(tmp_path: Path) -> None:
    names = {".a.png.0123.mdp-lite.tmp": 2, ".b.png.0123.mdp-lite.tmp": 0, ".c.tmp": 2, "d": 2}
    for name, days in names.items():
        (tmp_path / name).write_bytes(b"")
        then = time.time() - days * atomic.DAY
        os.utime(tmp_path / name, (then, then))
    atomic.write_each([(tmp_path / "new", b"")])
    assert list_names(tmp_path) == sorted({*names, "new"} - {".a.png.0123.mdp-lite.tmp"})


def test_an_interrupt_removes_the_temporary_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*paths: object) -> None:
        raise KeyboardInterrupt

    atomic.write(tmp_path / "a", b"old")
    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        images.save_png(noise(0), tmp_path / "a", {})
    assert (tmp_path / "a").read_bytes() == b"old" and list_names(tmp_path) == ["a"]
