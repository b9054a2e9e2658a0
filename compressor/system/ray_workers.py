"""The same `Workers` on a Ray cluster that exists: joined, never started, and left as it is.

Ray schedules, retries and ships what tasks take and return; nothing here does. Ray is an extra, and
imported when it is asked for. A node that is lost costs no answer: Ray does its tasks again
elsewhere. What it would wait for without end, a cluster in which no node is left that could do a
task, is an error after a time limit here.
"""

import os
import platform
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from compressor.errors import UsageError
from compressor.system.processors import keep_to
from compressor.system.workers import LostWorkerError, Workers

PATIENCE = 900.0
"""Seconds without any answer after which the cluster is looked at."""
CONNECTING = 60.0
"""Seconds for the first task, which tells what is installed there."""
RETRIES = 3
"""How often Ray does a task again whose process or node was lost."""
PROCESSORS = 1
"""That a task takes."""
SHARE = 0.01
"""Of the resource `machine` that a task takes, where nodes declare it: a task that wants a machine
whole, of anyone's, waits for it."""
MACHINE = "machine"


class RayWorkers(Workers):
    """Tasks on an existing cluster, one a processor."""

    def __init__(self, address: str, patience: float = PATIENCE) -> None:
        """Join.

        Args:
            address: HOST:PORT of the head node, or `auto` for the one that runs here.
            patience: Seconds without any answer after which the cluster is looked at.

        Raises:
            UsageError: Ray is missing, no cluster answers, or it has another version of this
                package, of Python or of Ray.
        """
        self._ray = _imported()
        self._patience = patience
        self._joined = _joined(self._ray, address)
        self._call = self._ray.remote(_call)
        self._running: dict[Any, int] = {}
        self._next = 0
        self._require_same_version(address)
        self.count = max(1, int(self._ray.cluster_resources().get("CPU", 1)))

    def submit(self, task: Callable[..., Any], *arguments: Any) -> int:
        """Hand in a task; its ticket. What is large travels once a node (Ray's object store)."""
        ticket, self._next = self._next, self._next + 1
        self._running[self._remote(task, *arguments)] = ticket
        return ticket

    def gather(self) -> tuple[int, Any]:
        """The ticket of a task that has ended, and what it returned or raised.

        Raises:
            ValueError: No task was handed in that was not gathered.
            LostWorkerError: No node is left that could do what was handed in.
        """
        if not self._running:
            raise ValueError("there is no task to wait for")
        while True:
            done, _ = self._ray.wait(list(self._running), timeout=self._patience)
            if done:
                ticket = self._running.pop(done[0])
                return ticket, self._answer(done[0])
            self._require_nodes()

    def close(self) -> None:
        """Leave the cluster; tasks that run there are cancelled."""
        for reference in self._running:
            self._ray.cancel(reference, force=True)
        self._running.clear()
        if self._joined:
            self._ray.shutdown()

    def _remote(self, task: Callable[..., Any], *arguments: Any) -> Any:
        share = {MACHINE: SHARE} if MACHINE in self._ray.cluster_resources() else None
        options = self._call.options(num_cpus=PROCESSORS, max_retries=RETRIES, resources=share)
        return options.remote(str(Path.cwd()), task, *arguments)

    def _answer(self, reference: Any) -> Any:
        exceptions = self._ray.exceptions
        try:
            return self._ray.get(reference)
        except exceptions.RayTaskError as error:
            return error.cause or error
        except exceptions.RayError as error:
            return LostWorkerError(f"Ray gave its task up: {str(error).splitlines()[0]}")

    def _require_nodes(self) -> None:
        """Refuse to wait for ever.

        Raises:
            LostWorkerError: No living node has a processor.
        """
        living = [node for node in self._ray.nodes() if node["Alive"]]
        if not any(node["Resources"].get("CPU", 0) >= 1 for node in living):
            raise LostWorkerError(
                f"no node of the cluster is left that has a processor, {self._patience:.0f} s "
                "after the last answer",
                hint="Start nodes (ray start --address HEAD); the same command goes on.",
            )

    def _require_same_version(self, address: str) -> None:
        exceptions = self._ray.exceptions
        try:
            there = self._ray.get(self._remote(about), timeout=CONNECTING)
        except exceptions.GetTimeoutError as error:
            self.close()
            raise UsageError(
                f"the cluster {address} did no task in {CONNECTING:.0f} s",
                hint="`ray status` shows whether a processor is free there.",
            ) from error
        except exceptions.RayError as error:
            self.close()
            raise UsageError(
                f"the cluster {address} cannot run this package: {_last_line(error)}",
                hint="Install the same version of compressor on every node.",
            ) from error
        if there != about():
            self.close()
            raise UsageError(
                f"the cluster {address} has {there}, and here is {about()}",
                hint="Install the same versions on every node.",
            )


def about() -> str:
    """The versions that have to be the same everywhere."""
    try:
        own = version("compressor")
    except PackageNotFoundError:
        own = "unknown"
    python = ".".join(platform.python_version_tuple()[:2])
    return f"compressor {own} on Python {python}"


def _call(folder: str, task: Callable[..., Any], *arguments: Any) -> Any:
    """Where paths of the command line mean what they mean there, if the node has that folder.

    On as many processors as were asked for: Ray counts them and holds nobody to them, and the
    threads of two tasks that take a node each wait for each other by spinning. Ray takes no
    callables that are objects, and no built-in ones.
    """
    keep_to(PROCESSORS)
    with suppress(OSError):
        os.chdir(folder)
    return task(*arguments)


def _imported() -> Any:
    try:
        import ray  # noqa: PLC0415 - an extra, which takes a second to load
    except ImportError as error:
        raise UsageError(
            f"--workers with an address needs ray, which is not installed: {error}",
            hint="pip install 'compressor[ray]', or pass a number of processes here.",
        ) from error
    return ray


def _joined(ray: Any, address: str) -> bool:
    """Whether this joined; a caller may have before."""
    if ray.is_initialized():
        return False
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except Exception as error:  # of the network, of authentication, of versions
        raise UsageError(
            f"the cluster {address} cannot be joined: {_last_line(error)}",
            hint="Start one with `ray start --head`, and pass its HOST:PORT, or auto on its node.",
        ) from error
    return True


def _last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
