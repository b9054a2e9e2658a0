"""Faults of the machine, over an earlier result: writes that fail, and signals at random moments.

    PYTHONPATH=tests python -m fuzz.faults --writes 1 --kills 200

Whatever happens, the folder holds the earlier result or the new one, whole; and the next run leaves
nothing of the one before.
"""

import argparse
import contextlib
import errno
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from random import Random

from fuzz import bases, judging, running
from fuzz.bases import QUICK

RESULT = "result"
RUNS = {
    "plain": ["mlp.onnx", "--calib", "mlp.npz", *QUICK, "--quantize", "none", "-o", RESULT],
    "budgeted": ["mlp.onnx", "--calib", "mlp.npz", "--eval", "mlp.npz", "--max-drop", "50%", *QUICK,
                 "-o", RESULT],
    "pruned": ["convolutions.onnx", "--calib", "convolutions.npz", "--prune", "30%", *QUICK,
               "--quantize", "none", "-o", RESULT],
    "tensorrt": ["mlp.onnx", "--calib", "mlp.npz", "--target", "trt", "--trt-backend", "script",
                 *QUICK, "-o", RESULT],
    "statistics": ["calibrate", "mlp.onnx", "--calib", "mlp.npz", "-o", "stats.npz"],
    "cached": ["mlp.onnx", "--calib", "mlp.npz", *(w for w in QUICK if w != "--no-cache"),
               "--cache", "kept", "-o", RESULT],
    "pages": ["report", RESULT],
}  # fmt: skip
Runs = Mapping[str, list[str]]
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_CHANGES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.utime", "os.chmod", "os.truncate")


class Failing:
    """Makes one of a process's changes to files fail, as where a disk is full.

    Attributes:
        at: Which of them, from 0 on.
    """

    def __init__(self, at: int, log: Path) -> None:
        self.at, self._log, self._count = at, log, 0

    def __call__(self) -> None:
        """Begin to count."""
        sys.addaudithook(self._heard)

    def _heard(self, event: str, arguments: tuple[object, ...]) -> None:
        if not self._changes(event, arguments):
            return
        self._count += 1
        if self._count - 1 == self.at:
            with contextlib.suppress(OSError):
                self._log.write_text(f"{event} {arguments[0]!r}")
            raise OSError(errno.ENOSPC, "No space left on device", str(arguments[0]))

    @staticmethod
    def _changes(event: str, arguments: tuple[object, ...]) -> bool:
        name = str(arguments[0]) if arguments else ""
        if name.startswith(("/dev", "/proc")) or name.isdecimal() or "__pycache__" in name:
            return False
        if event == "open":
            mode, flags = arguments[1], arguments[2]
            changing = isinstance(mode, str) and any(letter in mode for letter in "wax+")
            return changing or (mode is None and isinstance(flags, int) and bool(flags & _WRITING))
        return event in _CHANGES


def small_disk(size: int) -> Callable[[], None]:
    """No file may become larger: what native code writes fails, too."""

    def limited() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return limited


class Place:
    """A folder with an earlier result, made anew for each fault."""

    def __init__(self, scratch: Path, right: Path) -> None:
        self.folder, self._right = scratch / "case", right

    def fresh(self) -> None:
        """As it was."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        for name in ("mlp.onnx", "mlp.npz", "convolutions.onnx", "convolutions.npz", "stats.npz"):
            shutil.copy(self._right / name, self.folder)
        if (self._right / "kept").exists():
            shutil.copytree(self._right / "kept", self.folder / "kept")
        shutil.copytree(self._right / "done8", self.folder / RESULT)
        self.before = judging.sealed(self.folder / RESULT)
        self.statistics = (self.folder / "stats.npz").read_bytes()

    def lost(self, done: bool) -> str | None:
        """What is wrong with the result now."""
        result = self.folder / RESULT
        if judging.sealed(result) == self.before:
            changed = (self.folder / "stats.npz").read_bytes() != self.statistics
            return "half a file of statistics" if changed and not _reads(self.folder) else None
        if not done and not (result / "manifest.json").exists():
            return "the earlier result is lost"
        try:
            files = json.loads((result / "manifest.json").read_text())["files"]
        except (OSError, ValueError, KeyError) as error:
            return f"the manifest is lost: {error}"
        whole = all(
            (result / name).is_file()
            and sha256((result / name).read_bytes()).hexdigest() == seal["sha256"]
            for name, seal in files.items()
        )
        return None if whole and files else "half a result"

    def left(self) -> str | None:
        """What the next start leaves of what went wrong."""
        from compressor.system.output_folder import prepare
        from compressor.system.scratch import PREFIX

        prepare(self.folder / RESULT, force=False)
        found = [path.name for path in self.folder.iterdir() if path.name.startswith(".")]
        place = self.folder.with_name(f"{self.folder.name}.run") / "tmp"
        ours = (path.name for path in place.iterdir() if path.name.startswith("compressor"))
        found += [name for name in ours if not name.startswith(PREFIX)]
        return f"left: {found[0]}" if found else None


def _reads(folder: Path) -> bool:
    from calibration.stats import CalibrationStats

    try:
        CalibrationStats.load(folder / "stats.npz")
    except Exception:
        return False
    return True


def writes(
    place: Path,
    right: Path,
    runs: Runs,
    *,
    step: int,
    begin: int,
    until: float,
    told: Callable[[str], None],
) -> int:
    """Let each change to a file fail in turn; how many were tried.

    Args:
        place: Scratch.
        right: What `bases` made.
        runs: Commands by name.
        step: 1 for all of them, else every so many.
        begin: The first, from 0 on.
        until: When it ends, by the monotonic clock.
        told: Gets a line for each fault.
    """
    case, tried = Place(place, right), 0
    for name, argv in runs.items():
        at = begin
        while time.monotonic() < until:
            case.fresh()
            log = place / "failed"
            log.unlink(missing_ok=True)
            ended = running.run(case.folder, argv, limit=60, before=Failing(at, log))
            if not log.exists():
                break
            tried += 1
            _judge(case, ended, f"{name}, change {at} ({log.read_text()[-80:]})", told)
            at += step
        for size in (600, 1000, 4000, 20000)[:: min(step, 3)]:
            case.fresh()
            ended = running.run(case.folder, argv, limit=60, before=small_disk(size))
            tried += 1
            _judge(case, ended, f"{name}, files of {size} bytes", told)
    return tried


def _judge(case: Place, ended: running.Ended, what: str, told: Callable[[str], None]) -> None:
    wrong = judging.fault(ended)
    if wrong and wrong.startswith("scratch is left"):
        wrong = None  # removing it is what failed; the next start does
    wrong = wrong or case.lost(ended.code == 0) or case.left()
    if wrong:
        told(f"{what}: {wrong}")


def kills(
    place: Path,
    right: Path,
    runs: Runs,
    count: int,
    rng: Random,
    *,
    until: float,
    told: Callable[[str], None],
) -> Counter[str]:
    """Signals at random moments; how many by what they met."""
    case, met = Place(place, right), Counter[str]()
    names = [name for name in runs if name != "pages"]
    lasting = dict[str, float]()
    for name in names:
        case.fresh()
        lasting[name] = running.run(case.folder, runs[name], limit=60).seconds
    for index in range(count):
        if time.monotonic() > until:
            break
        name = names[index % len(names)]
        number = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)[index // len(names) % 3]
        case.fresh()
        moment = 0.1 + rng.uniform(0, 1.1 * lasting[name])  # by then it is the command that runs
        ended = running.run(case.folder, runs[name], limit=60, stop=(moment, number), before=_obey)
        met[f"{name}: {'done' if ended.code in (0, 3) else 'stopped'}"] += 1
        wrong = case.lost(ended.code in (0, 3)) or case.left()
        if ended.code not in (0, 3, 130, -number):
            wrong = wrong or f"ended with {ended.code}: {ended.err[-200:]}"
        if "Traceback" in ended.err:
            wrong = wrong or f"a traceback: {ended.err[-300:]}"
        if wrong:
            told(f"{name}, {signal.Signals(number).name} after {moment:.2f} s: {wrong}")
    return met


def pairs(place: Path, right: Path, runs: Runs, *, told: Callable[[str], None]) -> int:
    """Two runs at once into one folder, with one cache; how many pairs there were."""
    case = Place(place, right)
    for name, argv in runs.items():
        case.fresh()
        other = os.fork()
        if other == 0:
            running.run(case.folder, argv, limit=60, beside="second")
            os._exit(0)
        ended = running.run(case.folder, argv, limit=60)
        os.waitpid(other, 0)
        wrong = case.lost(ended.code in (0, 3)) or case.left()
        if ended.code not in (0, 2, 3) or "Traceback" in ended.err:
            wrong = wrong or f"ended with {ended.code}: {ended.err[-200:]}"
        if wrong:
            told(f"{name}, two at once: {wrong}")
    return len(runs)


def _obey() -> None:
    """As the console script does."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def main() -> int:
    """How many faults there were."""
    parser = argparse.ArgumentParser(prog="fuzz.faults", description=__doc__)
    parser.add_argument("--writes", type=int, default=0, help="Every so many changes; 0 for none.")
    parser.add_argument("--kills", type=int, default=0, help="How many signals.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--begin", type=int, default=0, help="First change to a file that fails.")
    parser.add_argument("--seconds", type=float, default=3600, help="How long, at most.")
    parser.add_argument("--pairs", action="store_true", help="Runs two at once, too.")
    parser.add_argument("--runs", default="", help=f"Some of {', '.join(RUNS)}.")
    parser.add_argument("--cheap", action="store_true", help="Plain runs only.")
    parser.add_argument("--bases", type=Path, help="Folder that keeps what is right.")
    asked = parser.parse_args()
    faults: list[str] = []

    def told(line: str) -> None:
        faults.append(line)
        print(line, flush=True)

    running.warm(torch=False)
    began = time.monotonic()
    until = began + asked.seconds
    with tempfile.TemporaryDirectory(prefix="faults-", ignore_cleanup_errors=True) as scratch:
        kept = asked.bases or Path(scratch) / "bases"
        right = bases.ready(kept, torch=False, cheap=asked.cheap).folder
        names = [name for name in asked.runs.split(",") if name] or list(RUNS)
        names = ["plain", "statistics"] if asked.cheap else names
        runs = {name: RUNS[name] for name in names}
        if asked.writes:
            tried = writes(
                Path(scratch),
                right,
                runs,
                step=asked.writes,
                begin=asked.begin,
                until=until,
                told=told,
            )
            print(f"{tried} writes that failed, {len(faults)} faults")
        if asked.pairs:
            tried = pairs(Path(scratch), right, runs, told=told)
            print(f"{tried} pairs of runs at once, {len(faults)} faults so far")
        if asked.kills:
            met = kills(
                Path(scratch), right, runs, asked.kills, Random(asked.seed), until=until, told=told
            )
            print(f"{met.total()} signals {dict(met)}, {len(faults)} faults so far")
    print(f"{time.monotonic() - began:.0f} s")
    return min(len(faults), 100)


if __name__ == "__main__":
    sys.exit(main())
