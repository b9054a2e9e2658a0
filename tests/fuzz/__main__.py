"""Run cases until their number or the time is over, and tell the faults by kind.

PYTHONPATH=tests python -m fuzz --cases 500 --seconds 240 --seed 7 --save out/fuzz
"""

import argparse
import gc
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from compressor.system.quoting import command_line
from fuzz import bases, judging, running
from fuzz.case import Case
from fuzz.kinds import DEAR, KINDS, OF_TORCH, WEIGHTS, make


class Fuzz:
    """Cases, made and judged in turn.

    Attributes:
        ended: How many cases of a kind ended in which way.
        seen: How many cases showed a fault.
        faults: Fault → where the smallest case is kept, and its command.
    """

    def __init__(self, scratch: Path, kept: Path, save: Path, *, limit: float, cheap: bool) -> None:
        self._scratch, self._kept, self._save = scratch, kept, save
        self._limit, self._cheap = limit, cheap
        self.ended: Counter[tuple[str, str]] = Counter()
        self.seen: Counter[str] = Counter()
        self.faults: dict[str, tuple[Path, list[str]]] = {}

    def prepare(self, *, torch: bool) -> None:
        """Load what commands load, and make what is right."""
        running.warm(torch=torch)
        self._bases = bases.ready(self._kept, torch=torch, cheap=self._cheap)
        gc.collect()
        gc.freeze()  # what forked processes would otherwise copy

    def case(
        self, kind: str, seed: int, kept: frozenset[int] | None = None
    ) -> tuple[Case, str | None]:
        """One case, and its fault."""
        folder = self._scratch / "case"
        shutil.rmtree(folder, ignore_errors=True)
        case = Case(kind, seed, folder, self._bases, cheap=self._cheap, kept=kept)
        argv = make(case)
        ended = running.run(folder, argv, limit=self._limit, after=judging.judged(case))
        found = judging.fault(ended)
        how = "killed a reader" if "in a process of its own" in ended.err else f"exit {ended.code}"
        self.ended[kind, "fault" if found else how] += 1
        self.last = ended
        return case, found

    def smallest(self, kind: str, seed: int, what: str, steps: int) -> Case:
        """The case with as few steps as show the same fault."""
        kept = set(range(steps))
        for index in range(steps if steps > 1 else 0):
            _, found = self.case(kind, seed, frozenset(kept - {index}))
            if found == what:
                kept.discard(index)
        return self.case(kind, seed, frozenset(kept))[0]

    def saved(self, case: Case, what: str) -> Path:
        """Keep a case with its command and what it says."""
        place = self._save / f"{case.kind}-{case.seed}"
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(
            case.folder,
            place,
            symlinks=True,
            ignore=lambda folder, names: [n for n in names if (Path(folder) / n).is_fifo()],
        )
        told = f"{what}\n\ncompress {case.argv}\n\n{self.last.err}\n{self.last.trace}\n"
        (place / "fault.txt").write_text(told, errors="replace")
        return place

    def tried(self, turns: Sequence[str], cases: int, seconds: float, first: int) -> int:
        """Cases of these kinds in turn, until their number or the time is over; how many."""
        began = time.monotonic()
        for done in range(cases):
            if time.monotonic() - began >= seconds:
                return done
            kind, seed = turns[done % len(turns)], first + done
            case, what = self.case(kind, seed)
            if what is None:
                continue
            self.seen[what] += 1
            if what not in self.faults:
                print(f"{kind} {seed}: {what}", flush=True)
                least = self.smallest(kind, seed, what, case.steps)
                self.faults[what] = (self.saved(least, what), least.argv)
        return cases

    def told(self) -> None:
        """Print how cases ended, by kind, and the faults."""
        for kind in KINDS:
            ends = {what: n for (of, what), n in sorted(self.ended.items()) if of == kind}
            if ends:
                print(f"  {kind:<14}" + "  ".join(f"{what}: {n}" for what, n in ends.items()))
        print(f"{len(self.faults)} kinds of faults")
        for what, (place, argv) in sorted(self.faults.items()):
            print(f"  {self.seen[what]:>4} × {what}")
            print(f"         {place}: compress {command_line(argv)[:150]}")


def main(words: Sequence[str] | None = None) -> int:
    """How many kinds of faults were found."""
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__.partition("\n")[0])
    parser.add_argument("--cases", type=int, default=2000, help="How many, at most.")
    parser.add_argument("--seconds", type=float, default=600, help="How long, at most.")
    parser.add_argument("--seed", type=int, default=0, help="Of the first case; others follow.")
    parser.add_argument("--kinds", default="", help=f"Some of {', '.join(KINDS)}.")
    parser.add_argument("--limit", type=float, default=60, help="Seconds that a case may take.")
    parser.add_argument("--cheap", action="store_true", help="Quick commands only, without torch.")
    parser.add_argument("--save", type=Path, default=Path("out/fuzz"), help="Folder for faults.")
    parser.add_argument("--bases", type=Path, help="Folder that keeps what is right.")
    asked = parser.parse_args(words)
    kinds = [kind for kind in asked.kinds.split(",") if kind] or list(KINDS)
    kinds = [kind for kind in kinds if kind not in DEAR] if asked.cheap else kinds
    turns = [kind for kind in kinds for _ in range(WEIGHTS.get(kind, 1))]
    with tempfile.TemporaryDirectory(prefix="fuzz-", ignore_cleanup_errors=True) as scratch:
        torch = any(kind in OF_TORCH for kind in kinds)
        kept = asked.bases or Path(scratch) / "bases"
        fuzz = Fuzz(Path(scratch), kept, asked.save, limit=asked.limit, cheap=asked.cheap)
        fuzz.prepare(torch=torch)
        began = time.monotonic()
        done = fuzz.tried(turns, asked.cases, asked.seconds, asked.seed)
    print(f"{done} cases in {time.monotonic() - began:.0f} s")
    fuzz.told()
    return min(len(fuzz.faults), 100)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
