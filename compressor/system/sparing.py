"""What only explains a result never costs it.

The error of every layer, changed samples, pictures, charts and pages say something about a result
that is already decided and built. Where one of them fails, by a defect of ours or for want of
memory, the run goes on without it, and the report says what is missing and why. What the result
itself rests on is no such thing: there an error ends the run.
"""

import logging
from collections.abc import Callable
from typing import TypeVar

from compressor.errors import CompressorError

T = TypeVar("T")
E = TypeVar("E")

logger = logging.getLogger(__name__)


def spared(make: Callable[[], T], instead: Callable[[str], E]) -> T | E:
    """What `make` returns; where it fails, what `instead` makes of the reason.

    An interrupt is no failure and passes through. `-v` shows the traceback.

    Args:
        make: Explains something.
        instead: Takes the reason, in words.
    """
    try:
        return make()
    except CompressorError as error:
        return instead(error.message)
    except Exception as error:
        logger.debug("spared", exc_info=True)
        return instead(reason_of(error))


def reason_of(error: BaseException) -> str:
    """An unexpected error in words: "an internal error (ValueError: no such axis)"."""
    if isinstance(error, MemoryError):
        return "out of memory"
    said = next(iter(str(error).strip().splitlines()), "")
    kind = type(error).__name__
    return f"an internal error ({kind}: {said})" if said else f"an internal error ({kind})"


def unfinished(stage: str, reason: str) -> str:
    """The notice for a stage that failed."""
    return f"{stage} failed and is left out, the result is not affected: {reason}"
