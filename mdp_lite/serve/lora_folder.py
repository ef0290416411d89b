"""The operator's folder of LoRAs, of which requests choose by name."""

import difflib
import re
from collections.abc import Sequence
from pathlib import Path

from mdp_lite.checkpoint.identity import ModelFile, file_hashes
from mdp_lite.model_pool.keys import LoraFile
from mdp_lite.names import BadInput
from mdp_lite.serve.errors import ApiError
from mdp_lite.serve.field_types import LoraChoice
from mdp_lite.serve.work import LoraMark

ENDING = ".safetensors"
NAME = re.compile(r"\w[\w .+()-]{0,127}")  # no part of a path


class LoraFolder:
    """A folder whose .safetensors files requests may name; what links out of it does not exist."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        if not self._folder.is_dir():
            raise BadInput(f"lora-folder must be a folder, got {str(folder)!r}")

    def list_names(self) -> list[str]:
        """All names, sorted."""
        names = (path.name.removesuffix(ENDING) for path in self._folder.glob(f"*{ENDING}"))
        return sorted(name for name in names if self._find_path(name))

    def find(self, choices: Sequence[LoraChoice]) -> tuple[LoraFile, ...]:
        """The files of the LoRAs of a request, in its order. Raises ApiError."""
        return tuple(self._find(f"lora.{i}.name", one) for i, one in enumerate(choices))

    def _find(self, param: str, choice: LoraChoice) -> LoraFile:
        if not NAME.fullmatch(choice.name):
            message = f"{param} must be a name that /v1/models lists, got {choice.name[:60]!r}"
            raise ApiError(400, message, "invalid_value", param)
        path = self._find_path(choice.name)
        if path is None:
            near = difflib.get_close_matches(choice.name, self.list_names(), 3, 0.5)
            more = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
            message = f"no LoRA {choice.name!r} here{more}"
            raise ApiError(404, message, "lora_not_found", param)
        found = path.stat()
        return LoraFile(choice.name, choice.weight, path, (found.st_size, found.st_mtime_ns))

    def _find_path(self, name: str) -> Path | None:
        """The file of a name, if it lies in the folder itself."""
        if not NAME.fullmatch(name):
            return None
        try:
            path = (self._folder / f"{name}{ENDING}").resolve(strict=True)
        except OSError:
            return None
        return path if path.parent == self._folder and path.is_file() else None


def mark_loras(files: Sequence[LoraFile]) -> tuple[LoraMark, ...]:
    """The LoRAs by their contents. Raises BadCheckpoint for a file that has changed since."""
    hashes = file_hashes(ModelFile("lora", one.path, *one.stamp) for one in files)
    pairs = zip(files, hashes, strict=True)
    return tuple(LoraMark(one.name, one.weight, total) for one, total in pairs)
