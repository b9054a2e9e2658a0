"""Tasks that other processes do: handed in, and gathered as they end.

    with LocalWorkers(2) as workers:
        tickets = [workers.submit(work, item) for item in items]
        for _ in tickets:
            ticket, answer = workers.gather()

A task is a function that can be imported, and what it takes and returns can be pickled. What it
raises is an answer, too. A process that dies costs no answer but its own: its task is tried once
more, then told as `LostWorkerError`. Processes end with the one that started them, even where that
is killed.
"""

import io
import pickle
import re
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as wait_for
from types import TracebackType
from typing import Any, NamedTuple, Self, cast

from compressor.errors import CompressorError, UsageError
from compressor.system.worker_process import DiedError, WorkerProcess

_ADDRESS = re.compile(r"(ray://)?[\w.\-\[\]:]+:\d+")
RETRIES = 1
"""How often a task whose process died is tried again."""


def require_sendable(**given: object) -> None:
    """Refuse what cannot be handed to another process, before anything is done for it.

    Args:
        given: What it is → the value.

    Raises:
        UsageError: One is a generator, a lambda, or holds something else of this process alone.
    """
    for name, value in given.items():
        try:
            pickle.Pickler(_Nowhere()).dump(value)
        except Exception as error:  # a class of the user's raises what it likes
            raise UsageError(
                f"workers read the {name} data by themselves, and {type(value).__name__} cannot be "
                f"handed to another process: {error}",
                hint="Pass a file, arrays or NAME.py:function, or leave --workers out.",
            ) from error


class _Nowhere(io.RawIOBase):
    """Keeps nothing: arrays are large."""

    def write(self, data: Any) -> int:
        """Forget it."""
        return memoryview(data).nbytes


class LostWorkerError(CompressorError):
    """The process of a task died, and died again."""


class Workers(ABC):
    """Where tasks run; closed as the block of its `with` ends. `count` is how many run at once."""

    count: int

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @abstractmethod
    def submit(self, task: Callable[..., Any], *arguments: Any) -> int:
        """Hand in a task; its ticket."""

    @abstractmethod
    def gather(self) -> tuple[int, Any]:
        """The ticket of a task that has ended, and what it returned or raised."""

    @abstractmethod
    def close(self) -> None:
        """End all processes."""


class _Task(NamedTuple):
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    retries: int


class LocalWorkers(Workers):
    """Processes on this machine, each on its share of the processors."""

    def __init__(self, count: int) -> None:
        """Start none before there is a task.

        Args:
            count: Processes at once.
        """
        self.count = count
        self._idle = deque(range(count))
        self._processes: dict[int, WorkerProcess] = {}
        self._tasks: dict[int, _Task] = {}
        self._waiting: deque[int] = deque()
        self._running: dict[int, int] = {}
        self._ended: deque[tuple[int, Any]] = deque()
        self._next = 0

    def submit(self, task: Callable[..., Any], *arguments: Any) -> int:
        """Hand in a task; its ticket."""
        ticket, self._next = self._next, self._next + 1
        self._tasks[ticket] = _Task(task, arguments, RETRIES)
        self._waiting.append(ticket)
        return ticket

    def gather(self) -> tuple[int, Any]:
        """The ticket of a task that has ended, and what it returned or raised.

        Raises:
            ValueError: No task was handed in that was not gathered.
            OSError: The system starts no further process.
        """
        if not self._tasks and not self._ended:
            raise ValueError("there is no task to wait for")
        while not self._ended:
            while self._waiting and self._idle:
                self._start(self._waiting[0], self._idle[0])
            places = {self._processes[place].connection: place for place in self._running}
            for connection in wait_for(list(places)) if places else ():
                self._finish(places[cast(Connection, connection)])
        return self._ended.popleft()

    def close(self) -> None:
        """End all processes; tasks at work are left."""
        for process in self._processes.values():
            process.kill()
        for place in list(self._processes):
            self._processes.pop(place).close()

    def _start(self, ticket: int, place: int) -> None:
        """Begin the first of the tasks that wait, in the first of the places that are free."""
        function, arguments, _ = self._tasks[ticket]
        process = self._living(place)
        self._waiting.popleft()
        try:
            process.send(function, arguments)
        except DiedError:  # as `receive` will say
            pass
        except Exception as error:  # whatever pickling something ends in
            self._end(ticket, error)
            return
        self._running[self._idle.popleft()] = ticket

    def _living(self, place: int) -> WorkerProcess:
        """The process of a place; a new one where it died while it had nothing to do."""
        if place in self._processes and not self._processes[place].is_alive():
            self._processes.pop(place).close()
        if place not in self._processes:
            self._processes[place] = WorkerProcess(place, self.count)
        return self._processes[place]

    def _finish(self, place: int) -> None:
        """Take what a task came to, and free its place; where the process died, have it again."""
        ticket = self._running.pop(place)
        self._idle.append(place)
        try:
            self._end(ticket, self._processes[place].receive())
        except DiedError:
            self._processes.pop(place).close()
            function, arguments, retries = self._tasks[ticket]
            if retries:
                self._tasks[ticket] = _Task(function, arguments, retries - 1)
                self._waiting.appendleft(ticket)
            else:
                self._end(ticket, LostWorkerError("its process died, twice"))

    def _end(self, ticket: int, answer: Any) -> None:
        del self._tasks[ticket]
        self._ended.append((ticket, answer))


def workers_of(text: str) -> Workers | None:
    """What --workers says: a number of processes here, or a cluster.

    Args:
        text: A number, HOST:PORT, or `auto`.

    Returns:
        None for one process, which is this one.

    Raises:
        UsageError: It is none of these, or the cluster cannot be joined.
    """
    if text.isdecimal() and int(text) > 0:
        return None if int(text) == 1 else LocalWorkers(int(text))
    if text != "auto" and not _ADDRESS.fullmatch(text):
        raise UsageError(
            f"--workers {text!r}: expected a number of processes, HOST:PORT of a cluster, or auto",
            hint="Write --workers 4, --workers 10.0.0.5:6379, or --workers auto.",
        )
    from compressor.system.ray_workers import RayWorkers  # noqa: PLC0415 - it imports this

    return RayWorkers(text)
