"""Scores of candidates that an earlier run judged: one that was killed goes on where it was."""

from collections.abc import Callable

import onnx_ir as ir

from calibration.dataset import CalibrationSet
from compressor.evaluation.metrics.base import Metric, Scores
from compressor.search.keys import cache_of_session, data_key, graph_key, metric_key
from compressor.search.session import Session
from compressor.system.cache import Entry
from compressor.system.versions import machine_key

WHAT = "judgements"


def scored_once(
    session: Session,
    metric: Metric,
    model: ir.Model,
    data: CalibrationSet,
    score: Callable[[], Scores],
) -> Scores:
    """The scores of the original and a candidate, kept or new.

    Args:
        session: The original, and what it is scored by.
        metric: What scores.
        model: The candidate.
        data: The samples.
        score: Runs both.
    """
    cache = cache_of_session(session)
    asked, yardstick = metric_key(metric), session.prepared.yardstick
    if not cache.keeps or asked is None or yardstick is None or yardstick.reseeded is not None:
        return score()
    key = {
        "original": graph_key(session.prepared.model),
        "candidate": graph_key(model),
        "metric": asked,
        "output": str(yardstick.primary),
        "samples": data_key(data),
        "batch": str(session.batch),
        "target": session.target.name,
        "options": repr(session.recipe.target_options),
        **machine_key(session.target.runtime),
    }
    found = cache.take(WHAT, key, lambda entry: Scores(dict(entry.arrays), **entry.document))
    if found is not None:
        return found
    scores = score()
    told = {
        "reference": scores.reference,
        "samples": scores.samples,
        "blocks": scores.blocks,
        "least": scores.least,
    }
    cache.put(WHAT, key, Entry(told, dict(scores.units)))
    return scores
