"""Work that may kill its process, done in another one first."""

import os
import signal
import sys
import time

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
    def interrupted(process: int) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("compressor.system.asked_first._ended", interrupted)
    with pytest.raises(KeyboardInterrupt):
        why_not_survived(lambda: time.sleep(60))
    with pytest.raises(ChildProcessError):  # none is left
        os.waitpid(-1, os.WNOHANG)


def test_what_only_waits_is_ended_and_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compressor.system.asked_first.STILL", 0.3)
    assert why_not_survived(lambda: time.sleep(60)) is None
