"""Sentences of warning; some are logged once in a process."""

import logging
from functools import cache, lru_cache

from mdp_lite.engine.placement import WAITS, Placement, describe_placement
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


@cache
def warn_unlike(sentence: str) -> None:
    """Log a sentence on pictures that a model can only blur, once."""
    log.warning(sentence)


@cache
def warn_placement(found: Placement, width: int, height: int, budget: int) -> None:
    """Log, once, what waits on the CPU for edits of a size, and whether they fit at all."""
    size = f"edits of {width}x{height} pixels"
    if not found.fits:
        log.warning(
            f"{size} take {found.peak_bytes / 1e9:.3g} GB of the GPU at least, "
            f"{budget / 1e9:.3g} GB are planned for: they may run out of memory"
        )
    elif WAITS in (found.text_encoder, found.vae):
        log.warning(
            f"so that {size} fit in {budget / 1e9:.3g} GB of the GPU: {describe_placement(found)}"
        )


@cache
def warn_stripes(width: int, height: int, call: str) -> None:
    """Log, once for a size, that the VAE does not compute pictures of it whole."""
    log.warning(
        f"the VAE computes pictures of {width}x{height} pixels {call}, as a whole one does not fit "
        "on the GPU: the last bits of pictures may differ"
    )
