"""Which processes run jobs of a folder: each holds a lock on a file, which its death releases."""

import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # not on Windows: there one process at a time may use a folder
    fcntl = None

FOLDER = "workers"  # in the folder of jobs
UNNAMED = ".new"  # end of the name of a file that is not locked yet


class Workers:
    """This process among those that share a folder, or alone if the folder is None.

    model is what it serves, one a line: the file of the lock says it to the others.
    """

    def __init__(self, folder: Path | None, model: str) -> None:
        self.name, self._model = f"w_{secrets.token_hex(12)}", model
        self._folder = None if folder is None else folder / FOLDER
        self._file: IO[bytes] | None = None

    def join(self) -> None:
        """Take the lock. The file gets its name once it is locked, so nobody takes it for dead."""
        if self._folder is None:
            return
        self._folder.mkdir(mode=0o700, exist_ok=True)
        path = self._folder / self.name
        new = path.with_name(self.name + UNNAMED)
        self._file = open(os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600), "wb")
        self._file.write(self._model.encode())
        self._file.flush()
        if fcntl is not None:
            fcntl.flock(self._file, fcntl.LOCK_EX)
        else:
            self._file.close()
        new.rename(path)

    def leave(self) -> None:
        """Release the lock."""
        if self._folder is not None:
            (self._folder / self.name).unlink(missing_ok=True)
        if self._file is not None:
            self._file.close()

    def list_alive(self) -> dict[str, str]:
        """The processes that live, each with its model; files of dead ones are deleted."""
        found = {self.name: self._model}
        if self._folder is None:
            return found
        for path in self._folder.glob("w_*"):
            if path.name == self.name or path.name.endswith(UNNAMED):
                continue
            with suppress(OSError):  # it has just left
                if _is_locked(path):
                    found[path.name] = path.read_text("utf-8")
                else:
                    path.unlink()
        return found


def _is_locked(path: Path) -> bool:
    if fcntl is None:
        return False
    with open(path, "rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
