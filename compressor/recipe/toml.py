"""Writes a recipe as TOML, each field under its description."""

import json
import re
from pathlib import Path

from pydantic import BaseModel

from compressor.recipe.recipe import Recipe
from exporters.base import TargetOptions


def to_toml(recipe: Recipe, loop: BaseModel | None = None) -> str:
    """The recipe as TOML, each field under its description; unset fields are commented out.

    Args:
        recipe: What is asked for.
        loop: The options of its built-in loop, which become a section of their own.
    """
    lines = ["# Recipe of `compress`. Command-line flags override it.", ""]
    lines += _fields(recipe, without=tuple(name for name, value in recipe if _of_sections(value)))
    sections = [(name, value) for name, value in recipe if isinstance(value, BaseModel)]
    for name, value in sorted(sections, key=lambda one: isinstance(one[1], TargetOptions)):
        apart = loop is not None and value is recipe.pipeline
        lines += _section(name, value, without=("options",) if apart else ())
        lines += _section("pipeline.options", loop) if apart and loop is not None else []
    for name, value in recipe:
        for key, section in value.items() if _of_sections(value) else ():
            lines += _section(f"{name}.{_key(key)}", section)
    return "\n".join(lines) + "\n"


def _of_sections(value: object) -> bool:
    """Whether it is a table of tables, as the graphs of a pipeline are."""
    return isinstance(value, dict) and any(isinstance(one, BaseModel) for one in value.values())


def _key(name: str) -> str:
    """A key of TOML, in quotes where it has to be."""
    return name if re.fullmatch(r"[\w-]+", name, re.ASCII) else json.dumps(name)


def _section(name: str, section: BaseModel, without: tuple[str, ...] = ()) -> list[str]:
    lines = ["", f"[{name}]"]
    doc = (type(section).__doc__ or "").strip().splitlines()
    lines += [f"# {doc[0]}"] if doc else []
    lines += _fields(section, without)
    for key, value in section:
        if isinstance(value, BaseModel):
            lines += _section(f"{name}.{key}", value)
    return lines


def _fields(section: BaseModel, without: tuple[str, ...] = ()) -> list[str]:
    lines = []
    for name, value in section:
        if isinstance(value, BaseModel) or name in without:
            continue
        lines.append(f"# {type(section).model_fields[name].description}")
        lines.append(f"# {name} =" if value is None or value == {} else f"{name} = {_toml(value)}")
    return lines


def _toml(value: object) -> str:
    """A TOML literal; JSON's are TOML's for text, numbers and booleans."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(k)} = {_toml(v)}" for k, v in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return json.dumps(str(value) if isinstance(value, Path) else value, ensure_ascii=False)
