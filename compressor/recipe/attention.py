"""What `--attention` asks for: `window:128` or `linear`."""

import re
from dataclasses import dataclass

from compressor.errors import RecipeError

WINDOW, LINEAR = "window", "linear"
_WINDOW = re.compile(rf"{WINDOW}:(\d+)")


@dataclass(frozen=True)
class AttentionForm:
    """The form that layers of attention may take.

    Attributes:
        asked: As the user wrote it.
        window: Tokens of the window; None for linear attention.
    """

    asked: str
    window: int | None = None


def parse_attention(text: str) -> AttentionForm:
    """`window:N`, N at least 2, or `linear`.

    Raises:
        RecipeError: It is neither.
    """
    asked = text.strip().lower()
    if asked == LINEAR:
        return AttentionForm(asked)
    match = _WINDOW.fullmatch(asked)
    if match is None or int(match[1]) < 2:
        raise RecipeError(
            f"the attention {text!r} is not understood",
            hint="Write window:128, with the number of tokens that each sees (2 or more), or "
            "linear.",
        )
    return AttentionForm(asked, int(match[1]))
