"""A process that does tasks, one after the other, and the pipe on which it answers.

Both ends of the pipe are held by one process each, so that the death of either is the end of what
the other reads, in the middle of an answer, too. `concurrent.futures` shares its pipes: there an
answer that is cut off is waited for without end.
"""

import multiprocessing
import os
import pickle
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as wait_for
from typing import Any


class DiedError(Exception):
    """The process ended before it had answered."""


class WorkerProcess:
    """A process of this interpreter, started anew (`spawn`)."""

    def __init__(self, place: int, count: int) -> None:
        """Start it.

        Args:
            place: Which of several it is, for its share of the processors.
            count: How many there are.

        Raises:
            OSError: The system starts no further process.
        """
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, place, count))
        try:
            with theirs, _deaf_to_interrupts():
                self._process.start()
        except BaseException:
            self.connection.close()
            raise

    @property
    def pid(self) -> int | None:
        """The number of the process."""
        return self._process.pid

    def is_alive(self) -> bool:
        """Whether it runs."""
        return self._process.is_alive()

    def send(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        """Hand in a task; the next `receive` is its answer.

        Raises:
            DiedError: The process has ended.
            Exception: The task cannot be pickled.
        """
        task = pickle.dumps((function, arguments))
        try:
            self.connection.send_bytes(task)
        except OSError as error:
            raise DiedError from error

    def receive(self) -> Any:
        """What the task returned or raised, or why that cannot be told.

        Raises:
            DiedError: The process has ended before.
        """
        try:
            answer = self.connection.recv_bytes()
        except (EOFError, OSError) as error:
            raise DiedError from error
        try:
            return pickle.loads(answer)  # of a process of ours
        except Exception as error:
            return error

    def kill(self) -> None:
        """End it at once; whatever it does is left."""
        self._process.kill()

    def close(self) -> None:
        """Kill it, and wait until it has ended."""
        self.kill()
        self._process.join()
        self._process.close()
        self.connection.close()


def _serve(connection: Connection, place: int, count: int) -> None:
    """In the process: do what comes, until the other end is closed."""
    _end_with_parent()
    _keep_to_share(place, count)
    if hasattr(os, "register_at_fork"):  # what a task forks may outlive this process
        os.register_at_fork(after_in_child=connection.close)
    while True:
        try:
            task = connection.recv_bytes()
            connection.send_bytes(_answer(task))
        except (EOFError, OSError):
            return


def _answer(task: bytes) -> bytes:
    """What a task returns or raises, pickled."""
    try:
        function, arguments = pickle.loads(task)  # of the process that started this one
        return pickle.dumps(function(*arguments))
    except BaseException as error:  # an end by sys.exit() is an answer, too
        error.add_note(f"In a process of its own:\n{traceback.format_exc()}")
        return _pickled(error)


def _pickled(error: BaseException) -> bytes:
    """An error as what it is where that travels, else its words."""
    try:
        answer = pickle.dumps(error)
        pickle.loads(answer)
    except Exception:
        return pickle.dumps(RuntimeError(f"{type(error).__name__}: {error}"))
    return answer


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """A process that is started here never sees the terminal's Ctrl-C; this one sees it later."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    from multiprocessing import resource_tracker  # noqa: PLC0415 - does not exist on Windows

    resource_tracker.ensure_running()  # else `start` does, and hears again from then on
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _keep_to_share(place: int, count: int) -> None:
    """Keep to a share of the processors."""
    if hasattr(os, "sched_setaffinity"):
        mine = sorted(os.sched_getaffinity(0))
        share = mine[place % count :: count]
        os.sched_setaffinity(0, share or [mine[place % len(mine)]])


def _end_with_parent() -> None:
    """End with the process that started this one, whatever ends it."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_follow, args=(parent.sentinel,), daemon=True).start()


def _follow(sentinel: int) -> None:
    wait_for([sentinel])
    os._exit(1)
