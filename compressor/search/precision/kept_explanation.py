"""What is told of layers and tensors of a quantized graph, by an earlier run."""

from calibration.dataset import CalibrationSet
from compressor.plan.kept_plan import stored_plan
from compressor.recipe.keeping import cache_of
from compressor.results.graph_report import LayerError, TensorRange
from compressor.search.candidate import Outcome
from compressor.search.keys import data_key, graph_key
from compressor.search.measure import Pair
from compressor.search.precision.error_analysis import Explanation, explain
from compressor.system.cache import Entry, array_digest, digest_of
from compressor.system.versions import machine_key

WHAT = "errors of layers"


def explained_once(found: Outcome, pair: Pair, data: CalibrationSet | None) -> Explanation:
    """`explain`, kept or new."""
    cache = cache_of(pair.recipe)
    if not cache.keeps or found.quantized is None or data is None:
        return explain(found, pair, data)
    document, arrays = stored_plan({"plan": found.quantized.plan})
    weights = {name: array_digest(array) for name, array in arrays.items()}
    key = {
        "graph": graph_key(found.graph),
        "plan": digest_of(document, weights, dict(found.quantized.float_reasons)),
        "samples": data_key(data),
        "target": f"{pair.target.name} {pair.recipe.target_options!r}",
        **machine_key(),
    }
    known = cache.take(WHAT, key, _read)
    if known is not None:
        return known
    made = explain(found, pair, data)
    told = ([one.model_dump(mode="json") for one in made.layers],
            [one.model_dump(mode="json") for one in made.tensors])  # fmt: skip
    cache.put(WHAT, key, Entry([*told, made.reason]))
    return made


def _read(entry: Entry) -> Explanation:
    layers, tensors, reason = entry.document
    return Explanation(
        tuple(map(LayerError.model_validate, layers)),
        tuple(map(TensorRange.model_validate, tensors)),
        reason,
    )
