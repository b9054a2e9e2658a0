"""Archives that somebody else made: what reading them ends in, and how large they may become."""

import struct
import zipfile
import zlib
from tokenize import TokenError

DAMAGE = (
    OSError,
    EOFError,
    ValueError,
    RuntimeError,
    struct.error,
    zlib.error,
    zipfile.BadZipFile,
    OverflowError,
    MemoryError,
    SyntaxError,
    TokenError,
)
"""Besides what `zipfile` says itself: headers of arrays that are no literals, names that are no
text, members that are encrypted or packed in ways that are not known, and sizes that are not true.
What is too large for the memory only claims to be: sizes of members stand in the archive."""

PACKED = 200
"""How many times larger than packed the content of an archive may be: weights shrink to a half."""
SMALL = 1 << 28
"""Bytes that any archive may become (256 MB)."""


def why_a_bomb(archive: zipfile.ZipFile) -> str | None:
    """Why an archive would become far more than it is; None where it would not.

    The sizes that an archive declares bound what is read of it, as `zipfile` reads no further. What
    declares less than it holds is damaged, and found so when it is read.
    """
    members = archive.infolist()
    whole = sum(member.file_size for member in members)
    packed = sum(member.compress_size for member in members)
    if whole <= SMALL or whole <= PACKED * packed:
        return None
    return f"{packed:,} bytes in it would become {whole:,}"
