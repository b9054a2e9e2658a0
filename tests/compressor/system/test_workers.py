"""Tasks in other processes: answered in any order, whatever dies."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import Future
from pathlib import Path

import psutil
import pytest

from compressor.system.workers import LocalWorkers, LostWorkerError


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
            (process,) = workers._pools[0]._processes.values()
            process.kill()
            if value:  # once without waiting: the pool may not have seen it yet
                process.join()


def test_a_pool_that_never_answers_for_a_task_is_replaced(tmp_path: Path) -> None:
    with LocalWorkers(1) as workers:
        ticket = workers.submit(work, "works", 3, str(tmp_path))
        workers._start(workers._waiting.popleft(), workers._idle.popleft())
        workers._running = {Future(): place for place in workers._running.values()}
        workers._pools[0]._broken = "a process died while a task was handed in"
        assert workers.gather() == (ticket, 9)


def test_there_is_nothing_to_wait_for() -> None:
    with LocalWorkers(1) as workers, pytest.raises(ValueError, match="no task"):
        workers.gather()


DRIVER = """
import os, time
from compressor.system.workers import LocalWorkers
if __name__ == "__main__":
    workers = LocalWorkers(1)
    workers.submit(time.sleep, 60)
    workers._start(workers._waiting.popleft(), 0)
    while not workers._pools[0]._processes:
        time.sleep(0.05)
    time.sleep(1.5)
    print(*workers._pools[0]._processes, flush=True)
    os.kill(os.getpid(), 9)
"""


def test_processes_end_with_the_one_that_started_them(tmp_path: Path) -> None:
    script = tmp_path / "driver.py"
    script.write_text(DRIVER)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, env=environment, check=False
    )
    (worker,) = map(int, done.stdout.split())
    deadline = time.monotonic() + 20
    while psutil.pid_exists(worker) and time.monotonic() < deadline:
        if psutil.Process(worker).status() == psutil.STATUS_ZOMBIE:
            return
        time.sleep(0.05)
    assert not psutil.pid_exists(worker)
