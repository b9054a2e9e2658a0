"""Work that may kill its process, done in another one first."""

import os
import signal
import sys
import time
from contextlib import suppress

import psutil
import pytest

from compressor.system.asked_first import why_not_survived

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux is asked")


def test_work_that_ends_in_any_way_of_python_survives() -> None:
    kept: list[int] = []
    assert why_not_survived(lambda: kept.append(1)) is None
    assert why_not_survived(lambda: 1 / 0) is None
    assert why_not_survived(lambda: sys.exit(3)) is None
    assert kept == []  # it was done elsewhere


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGFPE, signal.SIGABRT])
def test_what_kills_its_process_is_told(number: signal.Signals) -> None:
    reason = why_not_survived(lambda: os.kill(os.getpid(), number))
    assert reason == f"crashes ({number.name})"


def test_what_the_system_kills_took_too_much() -> None:
    reason = why_not_survived(lambda: os.kill(os.getpid(), signal.SIGKILL))
    assert reason == "is killed by the system, for memory most likely"


def test_what_does_not_come_to_an_end_is_ended() -> None:
    def endless() -> None:
        while True:
            pass

    assert why_not_survived(endless, seconds=1) == "takes more than 1 s"


def test_an_interrupt_ends_both(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[int] = []

    def interrupted(process: int) -> int:
        started.append(process)
        raise KeyboardInterrupt

    monkeypatch.setattr("compressor.system.asked_first._ended", interrupted)
    with pytest.raises(KeyboardInterrupt):
        why_not_survived(lambda: time.sleep(60))
    assert not psutil.pid_exists(started[0])


def test_what_only_waits_is_ended_and_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compressor.system.asked_first.STILL", 0.3)
    assert why_not_survived(lambda: time.sleep(60)) is None


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_the_process_ends_with_the_one_that_forked_it() -> None:
    reading, writing = os.pipe()
    asking = os.fork()
    if asking == 0:
        why_not_survived(lambda: os.write(writing, b"%d\n" % os.getpid()) and time.sleep(60))
        os._exit(0)
    process = psutil.Process(int(os.read(reading, 20)))
    os.kill(asking, signal.SIGKILL)
    os.waitpid(asking, 0)
    with suppress(psutil.NoSuchProcess):
        process.wait(10)
    assert not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
