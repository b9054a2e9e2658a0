"""Repairs of pruned graphs that an earlier run made."""

from collections.abc import Callable, Mapping

import onnx_ir as ir

from calibration.dataset import CalibrationSet
from compressor.graph.tensors import Array
from compressor.results.pruning import LayerRepair, RepairRecord
from compressor.search.keys import cache_of_session, data_key, graph_key, recipe_key
from compressor.search.session import Session
from compressor.system.cache import Entry
from compressor.system.versions import machine_key

WHAT = "repairs"
Repaired = tuple[Mapping[str, Array], RepairRecord]
"""New weights by node and role, and the record."""


def repaired_once(
    session: Session,
    original: ir.Model,
    smaller: ir.Model,
    data: CalibrationSet,
    aims: Mapping[str, str],
    repair: Callable[[], Repaired],
) -> Repaired:
    """New weights of a pruned graph, kept or new.

    Args:
        session: What is asked for.
        original: What a repair aims at.
        smaller: The pruned graph.
        data: The samples that repair.
        aims: Value of the pruned graph → value of the original that it should equal.
        repair: Does it.
    """
    cache, asked = cache_of_session(session), recipe_key(session.recipe)
    if not cache.keeps or asked is None:
        return repair()
    key = {
        "original": graph_key(original),
        "smaller": graph_key(smaller),
        "samples": data_key(data),
        "aims": repr(sorted(aims.items())),
        "recipe": asked,
        **machine_key(),
    }
    found = cache.take(WHAT, key, _read)
    if found is not None:
        return found
    weights, record = repair()
    layers = {name: one.model_dump(mode="json") for name, one in record.layers.items()}
    cache.put(WHAT, key, Entry([record.model_dump(mode="json"), layers], weights))
    return weights, record


def _read(entry: Entry) -> Repaired:
    told, layers = entry.document
    found = {name: LayerRepair.model_validate(one) for name, one in layers.items()}
    return entry.arrays, RepairRecord(**told, layers=found)
