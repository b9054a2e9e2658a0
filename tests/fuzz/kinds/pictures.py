"""Data in a folder of pictures."""

import struct
import zlib
from pathlib import Path
from random import Random

from fuzz import hostile
from fuzz.case import Case
from fuzz.commands import with_data


def pictures(case: Case) -> list[str]:
    """Pictures, what is none, and links that lead in circles."""
    case.copy("convolutions.onnx", "pictures")
    folder = case.folder / "pictures"
    for rng in case.each():
        _broken_folder(rng, folder)
    return with_data(case, "convolutions.onnx", "pictures", "--image-size", "8")


def _broken_folder(rng: Random, folder: Path) -> None:
    path = rng.choice(
        sorted(path for path in folder.rglob("*") if path.is_file()) or [folder / "x.png"]
    )
    how = rng.randrange(7)
    if how == 0:
        path.unlink(missing_ok=True)
    elif how == 1:
        (path.parent / "note.txt").write_text(hostile.text(rng))
    elif how == 2:
        path.write_bytes(_png_bomb(rng))
    elif how == 3 and not path.with_suffix(".gif").exists():
        path.rename(path.with_suffix(rng.choice((".gif", ".tif", ".txt", ".npz"))))
    elif how == 4:
        (folder / "loop").symlink_to(folder) if not (folder / "loop").exists() else None
    else:
        path.write_bytes(hostile.broken_bytes(rng, path.read_bytes() if path.exists() else b""))


def _png_bomb(rng: Random) -> bytes:
    """A picture of a few bytes that claims many."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    size = rng.choice((3000, 20000, 60000, 2**31 - 1))
    head = struct.pack(">IIBBBBB", size, size, 8, rng.choice((0, 2, 6)), 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + body + chunk(b"IEND", b"")
