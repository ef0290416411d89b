"""Warnings that are logged once in a process."""

import logging
from functools import cache, lru_cache

from mdp_lite.method.schedule import check_reach
from mdp_lite.models.config import SchedulerConfig

log = logging.getLogger("mdp_lite")


@cache
def warn_reach(config: SchedulerConfig, n: int) -> None:
    """Log a warning, once, if a grid of n steps does not start near pure noise."""
    warning = check_reach(config, n)
    if warning:
        log.warning(warning)


@lru_cache(maxsize=256)
def warn_words(sentence: str) -> None:
    """Log a sentence on unknown words, once."""
    log.warning(sentence)
