"""Run a sample's own loop on what `compress` made of its graphs.

    python samples/use.py gan out/gan/ort

The loop is samples/gan/sample.py as it stands: it takes the graphs of the folder in place of the
original's. Images go into a sheet, NAME.png in the folder; text is printed.
"""

import argparse
import runpy
from pathlib import Path

import numpy as np
from PIL import Image

import compressor

ACROSS = 8
"""Images in a row of the sheet."""
ENLARGED, GAP = 3, 2


def sheet(images: np.ndarray) -> Image.Image:
    """Images [n, 1, height, width] in 0..1, in rows of eight."""
    count, _, height, width = images.shape
    down = -(-count // ACROSS)
    filled = np.ones((down * ACROSS, height + GAP, width + GAP))
    filled[:count, :height, :width] = images[:, 0]
    height, width = height + GAP, width + GAP
    tiles = filled.reshape(down, ACROSS, height, width).transpose(0, 2, 1, 3)
    levels = np.rint(255 * tiles.reshape(down * height, ACROSS * width).clip(0, 1))
    picture = Image.fromarray(levels.astype(np.uint8))
    return picture.resize((ENLARGED * picture.width, ENLARGED * picture.height))


def main() -> None:
    """Generate with the graphs of the folder named on the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("sample", help="gan, vae, diffusion, language or encoder")
    parser.add_argument("folder", type=Path, help="what compress wrote")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--count", type=int, default=32)
    arguments = parser.parse_args()
    own = runpy.run_path(str(Path(__file__).parent / arguments.sample / "sample.py"))
    models = compressor.load(arguments.folder)  # the one line that is new
    made = own["generate"](models, arguments.seed, arguments.count)
    if "text" in made or "told" in own:
        print("\n".join(made["text"] if "text" in made else own["told"](made)))
        return
    for name in ("image", "reconstruction", "drawn"):
        if name not in made:
            continue
        images = made[name]
        path = arguments.folder / f"{name}.png"
        sheet(images).save(path)
        print(f"{len(images)} generated: {path}")


if __name__ == "__main__":
    main()
