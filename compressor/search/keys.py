"""What decisions and judgements of a run depend on, as keys of what is kept of them."""

from collections.abc import Iterator
from typing import Any

import onnx_ir as ir

from calibration.dataset import CalibrationSet
from compressor.evaluation.metrics.base import Metric
from compressor.graph.fingerprint import fingerprint
from compressor.recipe.keeping import cache_of
from compressor.recipe.recipe import Recipe
from compressor.search.session import MachineTimer, Session
from compressor.system.cache import Cache
from compressor.system.userfile import is_object_spec
from exporters.base.execution import NOTE

_DATA = frozenset({"calib", "eval", "stats", "cache", "reuse"})
_ELSEWHERE = frozenset({"model", "output", "package", "search", "pipeline", "graphs"})
"""What the captured graph, or nothing that is decided of one graph, depends on."""
_PLAIN = (str, int, float, bool, type(None))


def cache_of_session(session: Session) -> Cache:
    """The cache of a run; none where a test's own clock decides."""
    return cache_of(session.recipe) if type(session.timer) is MachineTimer else Cache(None)


def recipe_key(recipe: Recipe) -> str | None:
    """What of a recipe decides, as JSON; None where code of the user's takes part.

    Such code may change while its name stays. Data counts by its content, not by its name.
    """
    if recipe.measure.features is not None:
        return None
    named = recipe.model_dump(exclude={"model": True, "data": {"calib", "eval"}})
    if any(isinstance(text, str) and is_object_spec(text) for text in _leaves(named)):
        return None
    return recipe.model_dump_json(
        exclude={"data": set(_DATA), "train": {"data"}, **dict.fromkeys(_ELSEWHERE, True)}
    )


def metric_key(metric: Metric) -> str | None:
    """A metric and what it was made with; None for the user's own, and for one with features."""
    kind = type(metric)
    if metric.needs_features or not kind.__module__.startswith("compressor.evaluation."):
        return None
    held = vars(metric)
    if kind.__module__.endswith("user_metric") or not all(map(_is_plain, held.values())):
        return None
    return f"{kind.__module__}.{kind.__qualname__} {sorted(held.items())!r}"


def data_key(data: CalibrationSet | None) -> str:
    """Samples, by content and order."""
    return "none" if data is None else data.fingerprint()


def graph_key(model: ir.Model) -> str:
    """A graph, by content and by how it is to be executed."""
    note = model.metadata_props.get(NOTE)
    return fingerprint(model) if note is None else f"{fingerprint(model)} {note}"


def _is_plain(value: object) -> bool:
    return isinstance(value, _PLAIN) or (
        isinstance(value, tuple) and all(isinstance(one, _PLAIN) for one in value)
    )


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for one in value:
            yield from _leaves(one)
    else:
        yield value
