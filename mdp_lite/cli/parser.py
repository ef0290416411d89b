"""The argument parser that all commands use."""

import argparse
from typing import NoReturn

from mdp_lite.names import BadInput


class CommandParser(argparse.ArgumentParser):
    """Raises BadInput where argparse would print its usage and exit."""

    def error(self, message: str) -> NoReturn:
        """Raise what is wrong as one sentence."""
        raise BadInput(message)
