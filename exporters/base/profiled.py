"""Times of a runtime's own kernels, for targets that tell them."""

from dataclasses import dataclass
from typing import Protocol, Self


@dataclass(frozen=True)
class Kernel:
    """What one kernel took in an inference.

    Attributes:
        names: The nodes and values of the graph whose work it does, the one that it is of first;
            none where it only moves or converts.
        seconds: Its time.
        label: How the runtime calls it.
        operator: What it does, in the runtime's words.
    """

    names: tuple[str, ...]
    seconds: float
    label: str = ""
    operator: str = ""


class Profiled(Protocol):
    """A context manager: a model that is run with the runtime's profiler on, on the same feeds."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *raised: object) -> None: ...

    def inference(self) -> None:
        """One inference."""

    def kernels(self) -> list[Kernel]:
        """The kernels of the last inference, in order of execution."""
