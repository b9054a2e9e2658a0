"""A folder is one process's, and a trial of a process that is gone is lost."""

import os
import socket
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from compressor.errors import OutputError
from compressor.search.recipes.ownership import LOCK, LOST, OWNER, held, is_lost, owner


def test_a_folder_is_searched_by_one_process(tmp_path: Path) -> None:
    waits = [sys.executable, "-c", "print(flush=True); input()"]
    with subprocess.Popen(waits, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        (tmp_path / LOCK).write_text(str(other.pid))
        with pytest.raises(OutputError, match=str(other.pid)), held(tmp_path):
            pass
        other.communicate(b"\n")
    with held(tmp_path):
        assert (tmp_path / LOCK).read_text() == str(os.getpid())
    assert not (tmp_path / LOCK).exists()


def trial(by: dict[str, Any] | None, *, ago: timedelta = timedelta()) -> Any:
    """One that runs, as Optuna keeps it."""
    attributes = {} if by is None else {OWNER: by}
    return SimpleNamespace(user_attrs=attributes, datetime_start=datetime.now() - ago)


def test_a_process_that_lives_keeps_its_trial_and_one_that_is_gone_does_not() -> None:
    waits = [sys.executable, "-c", "input()"]
    with subprocess.Popen(waits, stdin=subprocess.PIPE) as other:
        by = owner() | {"pid": other.pid, "since": 0.0}
        assert is_lost(trial(by), 1.0), "the number is another process's by now"
        by["since"] = psutil.Process(other.pid).create_time()
        assert not is_lost(trial(by), 1.0)
        other.communicate(b"\n")
    assert is_lost(trial(by), 1.0)
    assert is_lost(trial(owner()), 1.0), "of an earlier call of this process, which failed"


def test_another_machines_trial_is_lost_after_long() -> None:
    by = owner() | {"host": f"not-{socket.gethostname()}"}
    assert not is_lost(trial(by, ago=LOST / 2), 1.0)
    assert is_lost(trial(by, ago=2 * LOST), 1.0)
    assert not is_lost(trial(by, ago=2 * LOST), LOST.total_seconds()), "ten times the longest"
