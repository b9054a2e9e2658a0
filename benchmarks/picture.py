"""A picture of the head of a report, small enough for a README.

    python benchmarks/picture.py out/digits/model-ort/report.html docs/report.png

Takes a screenshot with Chromium or Chrome, without a display, and stores it in few colours. Ends
with 1 where there is no such browser, or the picture is larger than `MOST_BYTES`.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
WIDTH, HEIGHT = 1000, 725
"""Pixels of the page that are shown."""
COLOURS = 64
MOST_BYTES = 60_000
SECONDS = 120
"""That the browser may take."""


def browser() -> str | None:
    """The first that is installed."""
    return next((found for name in BROWSERS if (found := shutil.which(name))), None)


def screenshot(program: str, page: Path, picture: Path, height: int) -> None:
    """What the browser shows of a page in a window of `WIDTH` × `height`.

    Raises:
        CalledProcessError: The browser failed.
    """
    with tempfile.TemporaryDirectory() as profile:
        command = [
            program,
            "--headless",
            "--no-sandbox",
            "--hide-scrollbars",
            f"--user-data-dir={profile}",
            f"--window-size={WIDTH},{height}",
            f"--screenshot={picture}",
            page.resolve().as_uri(),
        ]
        subprocess.run(command, check=True, capture_output=True, timeout=SECONDS)


def store(picture: Path, to: Path) -> int:
    """The picture with a palette; returns its bytes."""
    with Image.open(picture) as image:
        few = image.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
        few.save(to, optimize=True)
    return to.stat().st_size


def main() -> None:
    """Draw the report named on the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("report", type=Path, help="report.html of an output folder")
    parser.add_argument("picture", type=Path, help="PNG file to write")
    parser.add_argument("--height", type=int, default=HEIGHT, help="pixels of the page")
    arguments = parser.parse_args()
    program = browser()
    if program is None:
        sys.exit(f"none of {', '.join(BROWSERS)} is installed")
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "page.png"
        screenshot(program, arguments.report, whole, arguments.height)
        size = store(whole, arguments.picture)
    print(f"{arguments.picture}: {size / 1000:.0f} kB")
    sys.exit(size > MOST_BYTES)


if __name__ == "__main__":
    main()
