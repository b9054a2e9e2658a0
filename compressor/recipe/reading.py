"""Reads a recipe, and lays what else is said over it."""

import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from compressor.errors import RecipeError
from compressor.recipe.effort import stands_for
from compressor.recipe.recipe import Recipe
from compressor.system.nearby import did_you_mean


def load_recipe(
    path: Path | None, overrides: dict[str, Any], *, effort: str | None = None
) -> Recipe:
    """Read a TOML recipe and lay `overrides` over it.

    Paths in the file are relative to the working directory, as they are on the command line.

    Args:
        path: The file; None without one.
        overrides: What is said beside it.
        effort: What is laid below both, by its name in `EFFORTS`.

    Raises:
        RecipeError: The file cannot be read, is not TOML, or holds an unknown or invalid field.
    """
    document: dict[str, Any] = {}
    if path is not None:
        try:
            document = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise RecipeError(
                f"recipe {path} cannot be read: {error.strerror}",
                hint=did_you_mean(path)
                or "`compress recipe > recipe.toml` writes one with every option explained.",
            ) from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
            raise RecipeError(f"recipe {path} is not TOML: {error}") from error
        if (field := _holding_nul(document)) is not None:
            raise RecipeError(f"{path}: field {field!r} holds a NUL character, as no name does")
    document = _merged(document, overrides)
    try:
        return Recipe.model_validate(_merged(stands_for(effort, document), document))
    except ValidationError as error:
        problem = error.errors()[0]
        field = ".".join(str(part) for part in problem["loc"])
        where = "the command line" if path is None else str(path)
        raise RecipeError(
            f"{where}: field {field!r}: {_said(problem['type'], problem['msg'])}",
            hint="`compress recipe` prints every field with its meaning.",
        ) from error


def _holding_nul(document: object, field: str = "") -> str | None:
    """The field whose text no system takes for a name of anything; None where there is none."""
    if isinstance(document, str):
        return field if "\0" in document else None
    pairs: Iterable[tuple[object, object]] = ()
    if isinstance(document, dict):
        pairs = document.items()
    elif isinstance(document, list):
        pairs = enumerate(document)
    found = (_holding_nul(inner, f"{field}.{key}".lstrip(".")) for key, inner in pairs)
    return next((name for name in found if name is not None), None)


def _said(kind: str, message: str) -> str:
    """Pydantic's message in the words of a user."""
    if kind == "extra_forbidden":
        return "there is no such field"
    return message.removeprefix("Value error, ")


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        known = merged.get(key)
        if isinstance(known, dict) and isinstance(value, dict):
            value = _merged(known, value)  # noqa: PLW2901 - the section, laid over the one below
        merged[key] = value
    return merged
