"""What a decoder is used for: how long a prompt it reads, and how much it writes.

--tokens 64:64      a prompt of 64 tokens, then 64 new ones
--tokens 2000:20    mostly reading;    --tokens 1:500    mostly writing
"""

import re
from dataclasses import dataclass

from compressor.errors import RecipeError

_TOKENS = re.compile(r"\s*(\d{1,9})\s*:\s*(\d{1,9})\s*")


@dataclass(frozen=True)
class Usage:
    """One use of a decoder.

    Attributes:
        prompt: Tokens that it reads in one call.
        new: Tokens that it writes then, one a call.
    """

    prompt: int = 64
    new: int = 64

    @property
    def context(self) -> int:
        """Tokens at its end."""
        return self.prompt + self.new


def parse_usage(text: str) -> Usage:
    """Read PROMPT:NEW.

    Raises:
        RecipeError: It is none, or nothing is read and nothing written.
    """
    match = _TOKENS.fullmatch(text)
    usage = None if match is None else Usage(*map(int, match.groups()))
    if usage is None or usage.context == 0:
        raise RecipeError(
            f"--tokens {text!r} is no PROMPT:NEW: expected how many tokens a decoder reads and how "
            "many it writes",
            hint="Write it as 64:64, or 2000:20 where prompts are long and answers short.",
        )
    return usage
