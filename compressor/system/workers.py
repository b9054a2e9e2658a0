"""Tasks that other processes do: handed in, and gathered as they end.

    with LocalWorkers(2) as workers:
        tickets = [workers.submit(work, item) for item in items]
        for _ in tickets:
            ticket, answer = workers.gather()

A task is a function that can be imported, and what it takes and returns can be pickled. What it
raises is an answer, too. A process that dies costs no answer but its own: what was at work then is
done again, one task at a time, so that the one which kills its process is found, tried once more,
and told as `LostWorkerError`. Processes end with the one that started them, even where that is
killed.
"""

import multiprocessing
import os
import re
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait as wait_for
from types import TracebackType
from typing import Any, NamedTuple, Self

from compressor.errors import CompressorError, UsageError

_ADDRESS = re.compile(r"(ray://)?[\w.\-\[\]:]+:\d+")
RETRIES = 1
"""How often a task whose process died alone is tried again."""


class LostWorkerError(CompressorError):
    """The process of a task died, alone and again."""


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
        self._pool: ProcessPoolExecutor | None = None
        self._tasks: dict[int, _Task] = {}
        self._waiting: deque[int] = deque()
        self._suspects: deque[int] = deque()
        self._running: dict[Future[Any], int] = {}
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
        """
        if not self._tasks and not self._ended:
            raise ValueError("there is no task to wait for")
        while not self._ended:
            self._start()
            done, _ = wait(self._running, return_when=FIRST_COMPLETED)
            lost = [ticket for future in done if (ticket := self._finish(future)) is not None]
            if lost:
                self._recover([*lost, *self._running.values()])
        return self._ended.popleft()

    def close(self) -> None:
        """End all processes; tasks at work are left."""
        if self._pool is not None:
            for process in list((self._pool._processes or {}).values()):
                process.terminate()
            self._pool.shutdown(cancel_futures=True)
            self._pool = None

    def _start(self) -> None:
        """As many as may run: one alone after a process died, until all suspects have ended."""
        if self._pool is None:
            context = multiprocessing.get_context("spawn")
            place = context.Value("i", 0)
            self._pool = ProcessPoolExecutor(
                self.count, context, initializer=_begin, initargs=(place, self.count)
            )
        line = self._suspects or self._waiting
        most = 1 if self._suspects else self.count
        while line and len(self._running) < most:
            ticket = line.popleft()
            function, arguments, _ = self._tasks[ticket]
            self._running[self._pool.submit(function, *arguments)] = ticket
            if line is self._suspects:
                break

    def _finish(self, future: Future[Any]) -> int | None:
        """Take what a task came to; its ticket where the process died."""
        ticket, error = self._running.pop(future), future.exception()
        if isinstance(error, BrokenProcessPool):
            return ticket
        del self._tasks[ticket]
        self._ended.append((ticket, future.result() if error is None else error))
        return None

    def _recover(self, lost: list[int]) -> None:
        """A pool that lost a process is of no more use, and all that ran in it is lost."""
        self._running.clear()
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None
        if len(lost) > 1:
            self._suspects.extend(lost)
            return
        (ticket,) = lost
        function, arguments, retries = self._tasks[ticket]
        if retries:
            self._tasks[ticket] = _Task(function, arguments, retries - 1)
            self._suspects.append(ticket)
            return
        del self._tasks[ticket]
        self._ended.append((ticket, LostWorkerError("its process died, twice and alone")))


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


def _begin(place: Any, count: int) -> None:
    """End with the parent, whatever ends it; and keep to a share of the processors."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_follow, args=(parent.sentinel,), daemon=True).start()
    with place.get_lock():
        index, place.value = place.value, place.value + 1
    if hasattr(os, "sched_setaffinity"):
        mine = sorted(os.sched_getaffinity(0))
        share = mine[index % count :: count]
        os.sched_setaffinity(0, share or [mine[index % len(mine)]])


def _follow(sentinel: int) -> None:
    wait_for([sentinel])
    os._exit(1)
