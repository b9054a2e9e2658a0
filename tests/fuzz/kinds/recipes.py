"""Recipes, in TOML."""

import json
import tomllib
from random import Random
from typing import Any

from fuzz import hostile
from fuzz.case import EARLIER, Case


def recipe(case: Case) -> list[str]:
    """Fields that are strange, or text that is."""
    case.copy("mlp.onnx", "mlp.npz", "recipe.toml")
    path = case.folder / "recipe.toml"
    document = tomllib.loads(path.read_text())
    if case.rng("base").random() < 0.3:
        path.write_bytes(case.broken(path.read_bytes()))
    else:
        for rng in case.each():
            if rng.random() < 0.4:
                _strange_field(rng, document)
            else:
                document = hostile.broken_document(rng, document)
                document = document if isinstance(document, dict) else {"x": document}
        path.write_text(_toml(document), encoding="utf-8", errors="replace")
    if case.cheap or case.rng("command").random() < 0.6:
        return ["recipe", "--recipe", "recipe.toml"]
    case.earlier()
    return ["mlp.onnx", "--recipe", "recipe.toml", "--no-cache", "--quiet", "-o", EARLIER]


def _strange_field(rng: Random, document: dict[str, Any]) -> None:
    """A field that recipes have, with a value that it has not."""
    from compressor.cli.places import PLACES

    section: Any = document
    place = rng.choice(sorted(set(PLACES.values()) - {("measure", "seconds"), ("train", "length")}))
    for key in place[:-1]:
        section = section.setdefault(key, {}) if isinstance(section, dict) else {}
    if isinstance(section, dict):
        section[place[-1]] = hostile.value(rng)


def _toml(document: Any) -> str:
    """TOML of whatever a document became; what TOML cannot say is left out."""
    return "".join(f"{_key(key)} = {_inline(value)}\n" for key, value in document.items())


def _key(key: Any) -> str:
    return json.dumps(str(key))


def _inline(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_key(k)} = {_inline(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_inline, value)) + "]"
    if value is None:
        return '""'
    return json.dumps(value) if isinstance(value, str) else str(value)
