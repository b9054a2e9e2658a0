"""Figures beside those that decide, of files that an earlier run measured on the same machine.

That is peak memory, and latency in configurations that decide nothing. The deciding latency, and
quality, are measured whenever they are reported.
"""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from compressor.graph.tensors import Arrays
from compressor.recipe.keeping import cache_of
from compressor.recipe.recipe import Recipe
from compressor.results.measurements import LatencyResult, MemoryResult
from compressor.system.cache import Entry
from compressor.system.versions import machine_key
from exporters.base import Artifact

R = TypeVar("R", bound=BaseModel)
LATENCY, MEMORY = "latencies that decide nothing", "peak memory"


def latency_once(
    recipe: Recipe, key: Mapping[str, str] | None, measure: Callable[[], LatencyResult]
) -> LatencyResult:
    """A latency that decides nothing, kept or new; one that the machine was too busy for is not.

    Args:
        recipe: Where it is kept.
        key: Of `measured_key`.
        measure: Does it.
    """
    return _once(recipe, LATENCY, key, measure, LatencyResult, lambda found: found.is_known)


def memory_once(
    recipe: Recipe, key: Mapping[str, str] | None, measure: Callable[[], MemoryResult]
) -> MemoryResult:
    """Peak memory, likewise."""
    return _once(recipe, MEMORY, key, measure, MemoryResult, _is_whole)


def _is_whole(found: MemoryResult) -> bool:
    return found.baseline_bytes is not None and found.result_bytes is not None


def _once(
    recipe: Recipe,
    kind: str,
    key: Mapping[str, str] | None,
    measure: Callable[[], R],
    result: type[R],
    is_kept: Callable[[R], bool],
) -> R:
    cache = cache_of(recipe)
    if key is None or not cache.keeps:
        return measure()
    known = cache.take(kind, key, lambda entry: result.model_validate(entry.document))
    if known is not None:
        return known
    found = measure()
    if is_kept(found):
        cache.put(kind, key, Entry(found.model_dump(mode="json")))
    return found


def measured_key(
    recipe: Recipe, models: tuple[Artifact, Artifact], feeds: Arrays, *how: object
) -> dict[str, str] | None:
    """What a measurement depends on; None where nothing is kept, or weights lie beside a file.

    Args:
        recipe: For how long is measured.
        models: Baseline and result.
        feeds: One inference.
        how: Target, configuration and the like.
    """
    if not cache_of(recipe).keeps or any(_is_apart(one.model) for one in models):
        return None
    files = [one.files if len(one.files) > 1 else (one.model,) for one in models]
    return {
        "models": " ; ".join(" ".join(map(_digest, own)) for own in files),
        "feeds": repr([(name, str(a.dtype), a.shape) for name, a in sorted(feeds.items())]),
        "how": repr([recipe.measure.seconds, *map(str, how)]),
        **machine_key(),
    }


def _is_apart(model: Path) -> bool:
    return not model.is_file() or model.with_name(f"{model.stem}.onnx.data").exists()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
