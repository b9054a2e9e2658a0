"""The zoo: what every stage makes of every network, and the page that says so (docs/zoo.md).

    python benchmarks/zoo.py [NAME ...] [--kept out/zoo] [--page docs/zoo.md] [--seconds 1200]

Capture, INT8, dynamic INT8, INT4, pruning and TensorRT's linter, of each network's graph. What was
measured is kept as JSON, a file a network, so that a run that was broken off or is out of time goes
on there. When the sources change it is measured anew. The page is of all that is kept; with names
only those are measured. Ends with 1 where something broke that was neither done nor refused.

All of it takes about forty minutes of one core. Needs the packages of the extras torch, dev and
trt-rtx. Figures of INT8 are of this machine's processor.
"""

import argparse
import contextlib
import hashlib
import io
import json
import logging
import sys
import time
import warnings
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from networks import ZOO, Network

from zoo_measure import FAILED, PARTS, measure
from zoo_page import page

ROOT = Path(__file__).parents[1]
SOURCES = ("compressor", "calibration", "exporters", "tests/networks")
"""What the figures are of."""


def state() -> str:
    """A digest of all sources that figures depend on."""
    digest = hashlib.sha256()
    for folder in SOURCES:
        for file in sorted((ROOT / folder).rglob("*.py")):
            digest.update(file.relative_to(ROOT).as_posix().encode() + file.read_bytes())
    return digest.hexdigest()


def entry_of(network: Network, kept: Path, of: str) -> dict[str, Any]:
    """What is known of a network, in this state of the sources."""
    file = kept / f"{network.name}.json"
    if file.is_file():
        found: dict[str, Any] = json.loads(file.read_text())
        if found["state"] == of:
            return found
    return {"name": network.name, "state": of}


def write(entry: dict[str, Any], kept: Path) -> None:
    """Keep what is known, whole or not at all."""
    kept.mkdir(parents=True, exist_ok=True)
    part = kept / f"{entry['name']}.json.part"
    part.write_text(json.dumps(entry, indent=1))
    part.rename(kept / f"{entry['name']}.json")


def measure_all(networks: list[Network], kept: Path, of: str, until: float) -> None:
    """Measure what is not known, until there is no more time."""
    for network in networks:
        entry = entry_of(network, kept, of)
        began = time.monotonic()
        if began > until:
            print("out of time: the same command goes on", flush=True)
            return

        def keep(name: str, entry: dict[str, Any] = entry) -> None:
            failed = next((entry[name][key] for key in FAILED if key in entry[name]), "")
            print(f"{entry['name']}: {name}{failed and ': ' + failed}", flush=True)
            write(entry, kept)

        measure(network, entry, keep)
        if time.monotonic() - began > 1:
            print(f"{network.name}: {time.monotonic() - began:.0f} s", flush=True)


def main() -> int:
    """Measure, write the page, and say what broke."""
    names = [network.name for network in ZOO]
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(names))
    parser.add_argument("--kept", type=Path, default=ROOT / "out/zoo")
    parser.add_argument("--page", type=Path, default=ROOT / "docs/zoo.md")
    parser.add_argument("--seconds", type=float, default=float("inf"))
    given = parser.parse_args()
    unknown = sorted(set(given.names) - set(names))
    if unknown:
        parser.error(f"no such network: {', '.join(unknown)}")
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    of = state()
    chosen = [network for network in ZOO if not given.names or network.name in given.names]
    with contextlib.redirect_stderr(io.StringIO()):  # libraries that talk while they load
        measure_all(chosen, given.kept, of, time.monotonic() + given.seconds)
    entries = [entry_of(network, given.kept, of) for network in ZOO]
    given.page.write_text(page(entries, list(PARTS)))
    broken = [
        f"{entry['name']}: {name}: {entry[name]['fault']}"
        for entry in entries
        for name in PARTS
        if "fault" in entry.get(name, {})
    ]
    print("\n".join([*broken, f"{given.page}: {len(entries)} networks, {len(broken)} faults"]))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
