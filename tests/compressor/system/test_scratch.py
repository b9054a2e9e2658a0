"""Folders that are gone afterwards, whatever ended the process that made them."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from compressor.system import scratch as module
from compressor.system.scratch import PREFIX, scratch

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such locks")

HOLD = """
import sys, time
from pathlib import Path
from compressor.system.scratch import scratch
with scratch(Path(sys.argv[1])) as folder:
    Path(folder, "weights").write_text("many")
    print(folder, flush=True)
    time.sleep(60)
"""


def holding(place: Path) -> tuple[subprocess.Popen[str], Path]:
    command = [sys.executable, "-c", HOLD, str(place)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_a_folder_lasts_as_long_as_its_block(tmp_path: Path) -> None:
    with scratch(tmp_path) as folder:
        Path(folder, "file").touch()
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_goes_and_what_is_in_use_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOMENT", -1.0)
    foreign = tmp_path / f"{PREFIX}of-somebody"
    foreign.mkdir()
    killed, left = holding(tmp_path)
    working, used = holding(tmp_path)
    with killed, working:
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        assert left.exists()
        module._sweep.cache_clear()
        with scratch(tmp_path):
            assert not left.exists()
            assert (used / "weights").exists()
            assert foreign.exists()
        working.send_signal(signal.SIGKILL)
