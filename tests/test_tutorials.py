"""The tutorials do what they say: each is followed to its end, block by block.

Minutes of training and compressing, so that a plain run leaves them out: `make tutorials`.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted((ROOT / "docs" / "tutorials").glob("*.md"))
BLOCK = re.compile(r'^```(python|sh)(?: title="([\w.]+)")?\n(.*?)^```$', re.M | re.S)


def blocks(page: Path) -> list[tuple[str, str | None, str]]:
    """Language, name of a file and code of each block."""
    return [match.groups() for match in BLOCK.finditer(page.read_text(encoding="utf-8"))]


def test_there_are_tutorials_whose_files_are_used():
    assert {page.stem for page in PAGES} >= {
        *("vision", "transformer", "decoder", "detector", "pipeline"),
    }
    for page in PAGES:
        found = blocks(page)
        assert any(language == "sh" and "compress " in code for language, _, code in found)
        for number, (language, name, code) in enumerate(found):
            if language == "python":
                compile(code, f"{page.name}, block {number}", "exec")
            if name is not None:
                after = "".join(code for _, _, code in found[number + 1 :])
                assert Path(name).stem in after, f"{page.name}: nothing uses {name}"


@pytest.mark.tutorial
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_tutorial_can_be_followed(page: Path, tmp_path: Path):
    commands = tmp_path / "bin"
    commands.mkdir()
    for name, words in (("compress", "-m compressor "), ("python", "")):
        command = commands / name
        command.write_text(f'#!/bin/sh\nexec "{sys.executable}" {words}"$@"\n')
        command.chmod(0o755)
    folder = tmp_path / "work"
    folder.mkdir()
    environment = {
        **os.environ,
        "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(folder)]),
        "HF_HUB_OFFLINE": "1",
    }
    for language, name, code in blocks(page):
        if name is not None:
            (folder / name).write_text(code, encoding="utf-8")
            continue
        run = ["sh", "-e", "-c", code] if language == "sh" else [sys.executable, "-c", code]
        done = subprocess.run(
            run, cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{code}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
