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
"""How often a task whose process died is tried again."""
PATIENCE = 1.0
"""Seconds after which tasks of processes that are gone are looked for."""


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
    """Processes on this machine, each on its share of the processors.

    A pool for each, as a pool that loses one process loses the tasks of all, and Python 3.11's
    never answers for a task that is handed in while it is breaking.
    """

    def __init__(self, count: int) -> None:
        """Start none before there is a task.

        Args:
            count: Processes at once.
        """
        self.count = count
        self._pools: dict[int, ProcessPoolExecutor] = {}
        self._idle = deque(range(count))
        self._tasks: dict[int, _Task] = {}
        self._waiting: deque[int] = deque()
        self._running: dict[Future[Any], tuple[int, int]] = {}
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
                self._start(self._waiting.popleft(), self._idle.popleft())
            done, _ = wait(self._running, PATIENCE, FIRST_COMPLETED)
            for future in done or self._forgotten():
                self._finish(future)
        return self._ended.popleft()

    def close(self) -> None:
        """End all processes; tasks at work are left."""
        for place in list(self._pools):
            self._end(place)

    def _start(self, ticket: int, place: int) -> None:
        function, arguments, _ = self._tasks[ticket]
        try:
            future = self._pool(place).submit(function, *arguments)
        except (BrokenProcessPool, OSError):  # it died while it had nothing to do
            self._end(place)
            future = self._pool(place).submit(function, *arguments)
        self._running[future] = ticket, place

    def _pool(self, place: int) -> ProcessPoolExecutor:
        if place not in self._pools:
            context = multiprocessing.get_context("spawn")
            self._pools[place] = ProcessPoolExecutor(
                1, context, initializer=_begin, initargs=(place, self.count)
            )
        return self._pools[place]

    def _forgotten(self) -> list[Future[Any]]:
        """What runs in pools that have broken without telling their tasks."""
        return [
            future
            for future, (_, place) in self._running.items()
            if self._pools[place]._broken and not future.done()
        ]

    def _finish(self, future: Future[Any]) -> None:
        """Take what a task came to, and free its place; where the process died, have it again."""
        ticket, place = self._running.pop(future)
        self._idle.append(place)
        error = future.exception() if future.done() else BrokenProcessPool()
        if not isinstance(error, BrokenProcessPool):
            del self._tasks[ticket]
            self._ended.append((ticket, future.result() if error is None else error))
            return
        self._end(place)
        function, arguments, retries = self._tasks[ticket]
        if retries:
            self._tasks[ticket] = _Task(function, arguments, retries - 1)
            self._waiting.appendleft(ticket)
            return
        del self._tasks[ticket]
        self._ended.append((ticket, LostWorkerError("its process died, twice")))

    def _end(self, place: int) -> None:
        pool = self._pools.pop(place)
        for process in list((pool._processes or {}).values()):
            process.terminate()
        pool.shutdown(wait=not pool._broken, cancel_futures=True)


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


def _begin(place: int, count: int) -> None:
    """End with the parent, whatever ends it; and keep to a share of the processors."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_follow, args=(parent.sentinel,), daemon=True).start()
    if hasattr(os, "sched_setaffinity"):
        mine = sorted(os.sched_getaffinity(0))
        share = mine[place % count :: count]
        os.sched_setaffinity(0, share or [mine[place % len(mine)]])


def _follow(sentinel: int) -> None:
    wait_for([sentinel])
    os._exit(1)
