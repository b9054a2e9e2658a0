"""How long something takes, for records of stages and limits of time."""

from time import perf_counter


class Stopwatch:
    """Runs from when it is made."""

    def __init__(self) -> None:
        """Start."""
        self._started = perf_counter()

    @property
    def seconds(self) -> float:
        """The seconds since it was started."""
        return perf_counter() - self._started
