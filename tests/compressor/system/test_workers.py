"""Tasks in other processes: answered in any order, whatever dies."""

import os
import signal
import subprocess
import sys
import threading
import time
from multiprocessing.connection import wait as wait_for
from pathlib import Path

import numpy as np
import psutil
import pytest

from compressor.errors import UsageError
from compressor.system.worker_process import WorkerProcess
from compressor.system.workers import LocalWorkers, LostWorkerError, require_sendable


def work(kind: str, value: int, folder: str) -> int:
    if kind == "raises":
        raise ValueError(f"no {value}")
    if kind == "dies" or (kind == "dies once" and not (once := Path(folder, "once")).exists()):
        if kind == "dies once":
            once.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return value * value


def test_a_process_that_dies_costs_no_answer_but_its_own(tmp_path: Path) -> None:
    kinds = ["works", "raises", "dies once", "works", "dies", "works"]
    with LocalWorkers(2) as workers:
        tickets = [workers.submit(work, kind, i, str(tmp_path)) for i, kind in enumerate(kinds)]
        found = dict(workers.gather() for _ in tickets)
    answers = [found[ticket] for ticket in tickets]
    assert [answers[i] for i in (0, 2, 3, 5)] == [0, 4, 9, 25]
    assert str(answers[1]) == "no 1"
    assert isinstance(answers[4], LostWorkerError)


def test_a_process_that_dies_with_nothing_to_do_costs_no_task(tmp_path: Path) -> None:
    with LocalWorkers(1) as workers:
        for value in range(3):
            workers.submit(work, "works", value, str(tmp_path))
            assert workers.gather()[1] == value * value
            process = workers._processes[0]
            process.kill()
            if value:  # once without waiting: it may not be seen yet
                assert wait_for([process.connection], 10)


def cut_off(folder: str, size: int) -> bytes:
    """A process that dies in the middle of its answer, once."""
    once = Path(folder, "once")
    if not once.exists():
        once.touch()
        me = os.getpid()
        threading.Timer(0.2, lambda: os.kill(me, signal.SIGKILL)).start()
    return bytes(size)


def test_an_answer_that_is_cut_off_is_waited_for_by_nobody(tmp_path: Path) -> None:
    with LocalWorkers(1) as workers:
        workers.submit(cut_off, str(tmp_path), 3_000_000)
        workers._start(0, 0)
        process = workers._processes[0]._process
        process.join(60)  # nothing is read meanwhile, and the pipe holds a part of the answer
        assert process.exitcode == -signal.SIGKILL
        assert len(workers.gather()[1]) == 3_000_000


def with_a_child(folder: str) -> int:
    """A process that dies and leaves a child that it forked."""
    once = Path(folder, "once")
    if not once.exists():
        once.touch()
        if os.fork() == 0:
            time.sleep(20)
            os._exit(0)
        os.kill(os.getpid(), signal.SIGKILL)
    return 7


@pytest.mark.skipif(not hasattr(os, "fork"), reason="only forks inherit pipes")
def test_a_child_of_a_dead_process_keeps_nobody_waiting(tmp_path: Path) -> None:
    with LocalWorkers(1) as workers:
        workers.submit(with_a_child, str(tmp_path))
        began = time.monotonic()
        assert workers.gather()[1] == 7
        assert time.monotonic() - began < 15


class TwoPartsError(Exception):
    """An error that pickles, and cannot be made again of what was pickled."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} and {second}")


class NoNumber:
    """Likewise no error."""

    def __reduce__(self) -> tuple[type, tuple[str]]:
        return int, ("no number",)


def odd(kind: object) -> object:
    if kind == "error":
        raise TwoPartsError("one", "two")
    if kind == "exit":
        sys.exit(3)
    return NoNumber() if kind == "value" else lambda: 0


def test_what_does_not_travel_is_told_as_it_is() -> None:
    with LocalWorkers(1) as workers:
        answers = []
        for kind in ("error", "value", "local", "exit", lambda: 0):
            workers.submit(odd, kind)
            answers.append(workers.gather()[1])
        workers.submit(work, "works", 3, "")
        assert workers.gather()[1] == 9
    words = [f"{type(answer).__name__}: {answer}" for answer in answers]
    assert words[0] == "RuntimeError: TwoPartsError: one and two"
    assert "invalid literal for int() with base 10: 'no number'" in words[1]
    assert "Can't pickle" in words[2]
    assert words[3] == "SystemExit: 3"
    assert "Can't pickle" in words[4]


def test_a_process_never_sees_the_terminals_interrupt() -> None:
    with LocalWorkers(1) as workers:
        workers.submit(blocked)
        assert signal.SIGINT in workers.gather()[1]
    assert signal.SIGINT not in blocked()


def blocked() -> set[signal.Signals | int]:
    return set(signal.pthread_sigmask(signal.SIG_BLOCK, ()))


def test_a_process_that_cannot_be_started_is_an_error_of_the_system(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def full(place: int, count: int) -> WorkerProcess:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    with LocalWorkers(1) as workers:
        ticket = workers.submit(work, "works", 3, str(tmp_path))
        with monkeypatch.context() as patch:
            patch.setattr("compressor.system.workers.WorkerProcess", full)
            with pytest.raises(BlockingIOError):
                workers.gather()
        assert workers.gather() == (ticket, 9)


def test_there_is_nothing_to_wait_for() -> None:
    with LocalWorkers(1) as workers, pytest.raises(ValueError, match="no task"):
        workers.gather()


DRIVER = """
import os, time
from compressor.system.worker_process import WorkerProcess
from compressor.system.workers import LocalWorkers
if __name__ == "__main__":
    workers = LocalWorkers(1)
    workers.submit(time.sleep, 60)
    workers._start(0, 0)
    time.sleep(1.5)
    print(workers._processes[0].pid, flush=True)
    os.kill(os.getpid(), 9)
"""


def test_processes_end_with_the_one_that_started_them(tmp_path: Path) -> None:
    script = tmp_path / "driver.py"
    script.write_text(DRIVER)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, env=environment, check=False
    )
    assert _has_ended(int(done.stdout), seconds=20)


def _has_ended(worker: int, seconds: float) -> bool:
    """Whether a process that is not ours ends in time; what nobody reaps has ended."""
    try:
        process = psutil.Process(worker)
        deadline = time.monotonic() + seconds
        while process.status() != psutil.STATUS_ZOMBIE and time.monotonic() < deadline:
            time.sleep(0.05)
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_data_of_this_process_alone_is_refused_by_name():
    require_sendable(calibration="calib.npz", evaluation={"x": np.zeros((4, 3), np.float32)})
    batches = ({"x": np.zeros((1, 3))} for _ in range(3))
    with pytest.raises(UsageError, match=r"evaluation data .* generator cannot be handed") as found:
        require_sendable(calibration=None, evaluation=batches)
    assert "leave --workers out" in (found.value.hint or "")
    assert len(list(batches)) == 3, "nothing of it was used up"
