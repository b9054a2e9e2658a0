"""Puts the pages that `reference.py` wrote into the site, as `reference/NAME.md`."""

from pathlib import Path

from mkdocs.structure.files import File, Files

FOLDER = Path(__file__).resolve().parents[2] / "out/reference"


def on_files(files: Files, config: object) -> Files:
    """A hook of mkdocs, called with the files of docs/."""
    for path in sorted(FOLDER.glob("*.md")):
        content = path.read_text(encoding="utf-8")
        files.append(File.generated(config, f"reference/{path.name}", content=content))
    return files
