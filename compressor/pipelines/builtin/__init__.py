"""Loops that are already written, one a file; the file's name is the loop's.

from compressor.pipelines import builtin
generate = builtin.find("text-generation")({"tokens": 32})
tokens = generate(compressor.load("out"), seed=7, count=4)["tokens"]
"""

import difflib
import pkgutil
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from compressor.errors import UsageError

if TYPE_CHECKING:  # loops import this package while it is being imported
    from compressor.pipelines.builtin.base import BuiltinLoop


def loop_names() -> list[str]:
    """The loops that exist in this installation."""
    return sorted(
        module.name.replace("_", "-")
        for module in pkgutil.iter_modules(__path__)
        if module.name != "base" and not module.name.startswith("_")
    )


def find(name: str) -> "type[BuiltinLoop[Any]]":
    """The loop of that name.

    Raises:
        UsageError: There is none; the message lists those that exist.
    """
    known = loop_names()
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        meant = f"Did you mean {close[0]}? " if close else ""
        raise UsageError(
            f"there is no built-in loop {name!r}",
            hint=f"{meant}There is {', '.join(known)}; a loop of your own is file.py:function.",
        )
    place = f"{__name__}.{name.replace('-', '_')}"
    return cast("type[BuiltinLoop[Any]]", import_module(place).LOOP)
