"""Ranges that were chosen by what reads them, kept for later runs and for other processes."""

from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path

import onnx_ir as ir

from calibration.dataset import CalibrationSet
from calibration.stats import CalibrationStats
from compressor.graph.fingerprint import fingerprint
from compressor.quantization.auto import Selected
from compressor.quantization.ranges import Range
from compressor.system.cache import Cache, Entry
from compressor.system.versions import made_by
from exporters.base import QuantPolicy

WHAT = "choices of ranges"


def selection_key(
    model: ir.Model,
    integer: Sequence[str],
    stats: CalibrationStats,
    data: CalibrationSet,
    policy: QuantPolicy,
    seed: int,
) -> dict[str, str]:
    """What the choice depends on.

    Args:
        model: The float graph.
        integer: Nodes that become integer.
        stats: Of the values that get ranges.
        data: The samples that are replayed.
        policy: The target's.
        seed: Of the choice of samples.
    """
    return {
        "graph": fingerprint(model),
        "samples": data.fingerprint(),
        "calibration": f"{stats.data} {stats.samples}",
        "nodes": "\n".join(integer),
        "policy": _told(policy),
        "seed": str(seed),
        **{f"made by {name}": text for name, text in made_by().items()},
    }


def selected_once(
    cache: Path | None,
    key: Callable[[], dict[str, str]],
    values: Sequence[str],
    propose: Callable[[str, str], Range],
    choose: Callable[[], Selected],
) -> Selected:
    """Each value's method and range, kept or new.

    Args:
        cache: The folder; None keeps nothing.
        key: See `selection_key`.
        values: Names of the values that get ranges.
        propose: The range of a value by a method.
        choose: Replays the samples.
    """
    kept = Cache(cache)
    if not kept.keeps:
        return choose()

    def read(entry: Entry) -> Selected:
        told, scores = entry.document
        methods = {name: str(told[name]) for name in values}
        return Selected({n: propose(n, method) for n, method in methods.items()}, methods, scores)

    asked = {**key(), "values": "\n".join(values)}
    found = kept.take(WHAT, asked, read)
    if found is None:
        found = choose()
        scores = {name: dict(one) for name, one in found.scores.items()}
        kept.put(WHAT, asked, Entry([dict(found.methods), scores]))
    return found


def _told(policy: QuantPolicy) -> str:
    """A policy, but for the functions that tell which nodes are integer.

    Sets have an order that is the same in every process.
    """
    parts = {field.name: getattr(policy, field.name) for field in fields(policy)}
    plain = {name: value for name, value in parts.items() if not callable(value)}
    return repr({n: sorted(v) if isinstance(v, frozenset) else v for n, v in plain.items()})
