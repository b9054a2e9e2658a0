"""Everything that a model's folder says of how its inputs are made."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from compressor.graph.tensors import Array

Fields = dict[str, Array]
"""Named arrays that belong together."""


class TextEncoder(Protocol):
    """Turns texts into tokens."""

    def encode(self, texts: list[str], others: list[str] | None, where: str) -> list[Fields]:
        """The inputs of each text, of a batch of one, at its own length."""
        ...

    def of_length(self, length: int) -> "TextEncoder":
        """The same for a model that takes this number of tokens and no other."""
        ...

    @property
    def words(self) -> str:
        """What it does, for reports."""
        ...


class AudioEncoder(Protocol):
    """Turns sound into inputs."""

    @property
    def rate(self) -> int:
        """Samples a second that the model hears at."""
        ...

    def encode(self, sound: Array) -> Fields:
        """The inputs of one sound at that rate, of a batch of one."""
        ...

    @property
    def words(self) -> str:
        """What it does, for reports."""
        ...


@dataclass(frozen=True)
class Encoders:
    """What reads the user's data for a model.

    Attributes:
        text: Reads texts; None where there is no tokenizer.
        why_no_text: Why there is none.
        images: Fields of the preprocessing of decoded pictures, by the model's own configuration.
        audio: Reads sound; None where nothing says how.
        labels: Names of the classes in the order of the outputs; none where they have no names.
    """

    text: TextEncoder | None = None
    why_no_text: str | None = None
    images: Mapping[str, object] | None = None
    audio: AudioEncoder | None = None
    labels: tuple[str, ...] = ()


def picture_words(known: Mapping[str, object]) -> str:
    """Preprocessing of pictures in words, as a model's folder has it."""

    def told(value: object) -> str:
        if isinstance(value, tuple):
            return ", ".join(told(one) for one in value)
        return f"{value:.4g}" if isinstance(value, float) else str(value)

    parts = (f"{name} {told(value)}" for name, value in known.items())
    return f"pictures become inputs as the model's folder says: {'; '.join(parts)}"


NONE = Encoders()
"""Of a model whose folder says nothing."""
