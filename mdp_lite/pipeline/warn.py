"""Sentences of warning; some are logged once in a process."""

import logging
from functools import cache, lru_cache

from mdp_lite.method.schedule import check_reach
from mdp_lite.models.config import SchedulerConfig

LAST_WORDS = 5  # of a prompt that is cut, so that its reader finds the place
log = logging.getLogger("mdp_lite")
WORDS = "mdp_lite.words"  # a separate logger, because a service logs no words of its users


def describe_cut(part: str, room: int) -> str:
    """A sentence on where a prompt ends that has more than room tokens; part is what is read."""
    words = " ".join(part.split()[-LAST_WORDS:])
    return f'only {room} tokens of a prompt are read: it ends at "{words}"'


@cache
def warn_reach(config: SchedulerConfig, n: int) -> None:
    """Log a warning, once, if a grid of n steps does not start near pure noise."""
    warning = check_reach(config, n)
    if warning:
        log.warning(warning)


@lru_cache(maxsize=256)
def warn_words(sentence: str) -> None:
    """Log a sentence on unknown words, once."""
    logging.getLogger(WORDS).warning(sentence)
