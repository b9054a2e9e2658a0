"""A software bill of materials beside a wheel: `python tests/sbom.py out/dist`.

CycloneDX 1.5, one for each wheel of the folder: the package, what it needs, and what its extras and
tools need, in the versions of requirements.lock, with licences as far as they are installed.
"""

import json
import re
import sys
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import Any

LOCK = Path(__file__).parents[1] / "requirements.lock"
_PINNED = re.compile(r"([A-Za-z0-9._-]+)==([^\s;]+)")


def bill_of(wheel: Path, lock: str) -> dict[str, Any]:
    """The bill of one wheel.

    Args:
        wheel: The file, `NAME-VERSION-....whl`.
        lock: The text of the lock.
    """
    name, version = wheel.name.split("-")[:2]
    pinned = [match.groups() for line in lock.splitlines() if (match := _PINNED.match(line))]
    digest = sha256(wheel.read_bytes()).hexdigest()
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "component": {
                **_component(name, version),
                "type": "application",
                "hashes": [{"alg": "SHA-256", "content": digest}],
            }
        },
        "components": [_component(*one) for one in sorted(pinned)],
    }


def _component(name: str, version: str) -> dict[str, Any]:
    place = f"pkg:pypi/{re.sub(r'[-_.]+', '-', name).lower()}@{version}"
    found = {"type": "library", "name": name, "version": version, "purl": place, "bom-ref": place}
    licence = _licence(name)
    return found if licence is None else {**found, "licenses": [{"license": {"name": licence}}]}


def _licence(name: str) -> str | None:
    try:
        told = metadata(name)
    except PackageNotFoundError:
        return None
    given = told.get("License-Expression") or told.get("License")
    return None if not given else given.strip().splitlines()[0][:100]


def main(folder: Path) -> None:
    """Write one beside each wheel."""
    for wheel in sorted(folder.glob("*.whl")):
        bill = wheel.with_suffix(".cdx.json")
        bill.write_text(json.dumps(bill_of(wheel, LOCK.read_text()), indent=1) + "\n")
        print(bill)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
