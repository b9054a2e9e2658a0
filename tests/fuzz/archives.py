"""Archives with members broken, renamed, doubled, swapped or made large."""

import io
import warnings
import zipfile
import zlib
from random import Random

from fuzz import hostile


def broken_archive(rng: Random, content: bytes) -> bytes:
    """An archive with one thing done to a member, or to its bytes."""
    try:
        return _broken_member(rng, content)
    except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError, OSError, KeyError):
        return hostile.broken_bytes(rng, content)
    except zlib.error:
        return hostile.broken_bytes(rng, content)


def _broken_member(rng: Random, content: bytes) -> bytes:
    if rng.random() < 0.25:
        return hostile.broken_bytes(rng, content)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [(info.filename, archive.read(info)) for info in archive.infolist()]
    if not members:
        return content
    at = rng.randrange(len(members))
    name, inside = members[at]
    how = rng.randrange(9)
    if how == 0:
        del members[at]
    elif how == 1:
        members.append((name, inside))
    elif how == 2:
        folder = name.rpartition("/")[0]
        members[at] = (
            rng.choice((hostile.text(rng) or "_", f"../{name}", f"{folder}/{hostile.text(rng)}")),
            inside,
        )
    elif how == 3:
        other = rng.randrange(len(members))
        members[at], members[other] = (name, members[other][1]), (members[other][0], inside)
    elif how == 4 and name.endswith(".json"):
        members[at] = (name, hostile.broken_json(rng, inside))
    elif how == 5:
        members[at] = (name, bytes(50_000_000))  # a bomb: small as it is stored
    elif how == 6:
        members[at] = (name, b"")
    else:
        members[at] = (name, hostile.broken_bytes(rng, inside))
    made = io.BytesIO()
    deflate = zipfile.ZIP_DEFLATED if how == 5 or rng.random() < 0.3 else zipfile.ZIP_STORED
    with warnings.catch_warnings(), zipfile.ZipFile(made, "w", deflate) as archive:
        warnings.simplefilter("ignore")
        for name, inside in members:
            archive.writestr(name.replace("\x00", "") or "_", inside)
    return made.getvalue()
