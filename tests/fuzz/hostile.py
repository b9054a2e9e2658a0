"""Values that break readers, and what to do to bytes and to documents."""

import json
from random import Random
from typing import Any

MARKUP = "<img src=x onerror=alert(1)>"
ESCAPES = "\x1b[31mred\x1b[0m\x07"
INTEGERS = (
    0, 1, -1, 2, 3, 5, 127, 255, 65536, 2**31 - 1, 2**31, -(2**31), 2**40, 2**63 - 1, -(2**63),
)  # fmt: skip
FLOATS = (0.0, -0.0, 1.0, -1.0, 1e-45, 1e38, -1e38, float("nan"), float("inf"), float("-inf"))
TEXTS = (
    "", " ", "x", "0", "-1", "nan", ".", "..", "../../up", "/etc/hostname", "a/b", "a\\b", "C:\\x",
    MARKUP, ESCAPES, "`touch hacked`", "$(touch hacked)", "'; touch hacked; '", '"', "a|b\n# c",
    "[bold]x[/bold]", "[/]", "{{7*7}}",
    "%s%n", "\u202egnp", "é\u0301", "\x7f", "\u2028", "\u009b31m",
    "x" * 3000, "con", "-rf", "--force", "name=1", "None", "true", "1e999", "١", "a\x00b",
)  # fmt: skip


def integer(rng: Random) -> int:
    return rng.choice(INTEGERS)


def number(rng: Random) -> float:
    return rng.choice(FLOATS)


def text(rng: Random) -> str:
    return rng.choice(TEXTS)


def value(rng: Random) -> Any:
    """What may stand in a document."""
    return rng.choice(
        (
            None, True, False, integer(rng), integer(rng), number(rng), text(rng), text(rng), [],
            {}, [integer(rng)] * 3, [text(rng)], {text(rng): integer(rng)}, [[[]]], 10**400,
        )
    )  # fmt: skip


def broken_bytes(rng: Random, content: bytes) -> bytes:
    """Bytes with one thing done to them."""
    at = rng.randrange(len(content) + 1)
    end = min(len(content), at + rng.choice((1, 1, 2, 8, 100, 1000)))
    before, part, after = content[:at], content[at:end], content[end:]
    flipped = bytes([part[0] ^ (1 << rng.randrange(8))]) + part[1:] if part else b""
    return rng.choice(
        (
            before,
            before[: at // 2],
            before + after,
            before + part * rng.choice((2, 2, 50)) + after,
            before + bytes(len(part)) + after,
            before + b"\xff" * len(part) + after,
            before + rng.randbytes(len(part)) + after,
            before + flipped + after,
            content + rng.randbytes(rng.choice((1, 100))),
        )
    )


def broken_document(rng: Random, document: Any) -> Any:
    """JSON with one thing done to it, at any depth."""
    places = list(_places(document))
    if not places:
        return value(rng)
    holder, key = rng.choice(places)
    how = rng.randrange(8)
    if how == 0:
        del holder[key]
    elif how == 1 and isinstance(holder, dict):
        holder[text(rng)] = holder.pop(key)
    elif how == 2:
        other, place = rng.choice(places)
        try:
            holder[key], other[place] = other[place], holder[key]
            json.dumps(document)
        except (KeyError, IndexError, ValueError, RecursionError):  # one was within the other
            return {}
    elif how == 3 and isinstance(holder, list):
        holder.extend([holder[key]] * rng.choice((1, 100)))
    elif how == 4 and isinstance(holder[key], int | float):
        holder[key] = rng.choice((integer(rng), number(rng), -holder[key], str(holder[key])))
    elif how == 5 and isinstance(holder[key], str):
        holder[key] = text(rng)
    elif how == 6:
        holder[key] = nested(rng)
    else:
        holder[key] = value(rng)
    return document


def broken_json(rng: Random, content: bytes) -> bytes:
    """A document with one thing done to it, or to its bytes where they are none any more."""
    try:
        return json.dumps(broken_document(rng, json.loads(content))).encode()
    except ValueError:
        return broken_bytes(rng, content)


def nested(rng: Random) -> Any:
    """Lists in lists, or objects in objects."""
    found: Any = 1
    for _ in range(rng.choice((10, 200))):
        found = [found] if rng.random() < 0.5 else {"x": found}
    return found


def _places(document: Any) -> Any:
    keys: Any = ()
    if isinstance(document, dict):
        keys = list(document)
    elif isinstance(document, list):
        keys = range(len(document))
    for key in keys:
        yield document, key
        yield from _places(document[key])
