"""Looking at what a user named: if the system can't, the input is bad, said in one line."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mdp_lite.names import BadInput, MdpError

SHOWN = 160  # characters of a path that an error names


@contextmanager
def probing(what: str, path: str | Path, name: str | None = None) -> Iterator[None]:
    """Turn what the system says about a path that is read into BadInput.

    So no permission for a folder above it, or a name that is too long or holds a NUL, is answered
    like a file that is not there. name is what the error shows, by default the path's repr.

    >>> with probing("picture", "a" * 300):
    ...     Path("a" * 300).is_file()
    Traceback (most recent call last):
    mdp_lite.names.BadInput: picture must be readable, got 'File name too long': 'aaa...aaa'
    """
    try:
        yield
    except MdpError:
        raise
    except (OSError, ValueError) as error:
        got = describe(error)
        raise BadInput(
            f"{what} must be readable, got {got}: {name or shorten(path)}", what
        ) from None


def describe(error: OSError | ValueError) -> str:
    """What the system says, without the path."""
    if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM):
        return "no permission"
    return repr((error.strerror if isinstance(error, OSError) else None) or str(error))


def shorten(path: str | Path) -> str:
    """The repr of a path; one that is too long loses its middle."""
    text, half = str(path), SHOWN // 2 - 1
    return repr(text if len(text) <= SHOWN else f"{text[:half]}...{text[-half:]}")


def find_existing(what: str, folder: Path) -> Path:
    """The folder, or the nearest one above it that exists. Raises BadInput if none can be seen."""
    with probing(what, folder):
        return next(one for one in (folder, *folder.absolute().parents) if one.exists())


def check_folder(what: str, folder: Path) -> Path:
    """The same, if it is a folder: else BadInput, as nothing can be created there."""
    found = find_existing(what, folder)
    with probing(what, folder):
        if not found.is_dir():
            raise BadInput(f"{what} must be a folder, got a file: {shorten(found)}", what)
    return found
