"""Several processes on one study in a private PostgreSQL. Where server and driver are installed."""

import getpass
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import studies
from studies import evaluate, opened

pytest.importorskip("optuna")
pytest.importorskip("psycopg")

BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin")) or [Path("/usr/bin")]
if not (BINARIES[-1] / "initdb").exists():
    pytest.skip("there is no PostgreSQL server here", allow_module_level=True)
ROLE = "postgres"


def run(command: str) -> None:
    """As a user that is not root, which the server refuses to be."""
    command = f"PATH={BINARIES[-1]}:$PATH; {command}"
    line = ["su", ROLE, "-c", command] if os.geteuid() == 0 else ["sh", "-c", command]
    subprocess.run(line, check=True, capture_output=True, timeout=60, cwd="/")


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The URL of an empty database, reached through a socket in a folder of its own."""
    folder = Path(tempfile.mkdtemp(prefix="postgres-", dir="/tmp"))  # a short name: a socket's
    user = ROLE if os.geteuid() == 0 else getpass.getuser()
    if os.geteuid() == 0:
        shutil.chown(folder, ROLE)
    folder.chmod(0o755)
    place = shlex.quote(str(folder))
    run(f"initdb -D {place}/data -A trust -U {user}")
    run(f"pg_ctl -w -D {place}/data -o '-k {place} -c listen_addresses=' -l {place}/log start")
    try:
        run(f"createdb -h {place} -U {user} studies")
        yield f"postgresql+psycopg://{user}@/studies?host={folder}"
    finally:
        run(f"pg_ctl -D {place}/data -m immediate stop")
        shutil.rmtree(folder, ignore_errors=True)


JOINS = """
import sys
from pathlib import Path
from studies import evaluate, opened
study = opened(Path(sys.argv[1]), storage=sys.argv[2], name="shared")
for _ in range(4):
    evaluate(study, study.ask())
"""


def test_processes_join_a_study_and_lose_no_trial(server: str, tmp_path: Path) -> None:
    opened(tmp_path / "first", storage=server, name="shared").close()
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(Path(studies.__file__).parent), *sys.path]),
    }
    running = [
        subprocess.Popen(
            [sys.executable, "-c", JOINS, tmp_path / name, server], env=environment, stderr=-1
        )
        for name in ("one", "two")
    ]
    for process in running:
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0, said
    study = opened(tmp_path / "first", storage=server, name="shared")
    assert [told.number for told in study.told()] == list(range(8))
    evaluate(study, study.ask())
    assert len(study.told()) == 9
    study.close()
