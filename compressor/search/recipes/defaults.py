"""The space of a search where the recipe does not narrow it: by what kind of model it is.

- convolutional, with more Conv than MatMul and Gemm;
- transformer, with Softmax or attention, and norms;
- recurrent, with LSTM, GRU or RNN;
- other.

`_OF_KIND` has the variables of each. Where size or memory is an objective, precisions that only
store weights smaller are among the choices. `docs/search.md` says what each variable means.
"""

from collections import Counter
from collections.abc import Mapping
from importlib.util import find_spec
from math import inf

import onnx_ir as ir

from calibration.ranges import find_method
from compressor.recipe.training import parse_length
from compressor.results.precision import STORED
from compressor.search.recipes.shared import Shared
from compressor.search.recipes.variables import Choice, Number, Variable

PRUNED, STEP = 0.6, 0.05
"""The largest share of the latency that goes by channels, and the steps to it."""
BLOCKS = 3
"""Whole blocks that go by default, at most."""
LENGTH = "500steps"
"""How long `training` trains where nothing else is said."""
PRECISIONS = ("int8", "int8-dynamic", "float", "int8-weights", "int4", "fp16", "bf16")
RANGES = ("auto", "minmax", "percentile", "mse")
SMOOTHED = ("none", "0.5", "0.7", "auto")
SMOOTHING = ("none", "0.4", "0.5", "0.6", "0.7", "0.8", "auto")
ROUNDED = ("1", "2", "4", "8", "16", "32", "64")
_ATTENTION = frozenset({"Softmax", "Attention", "MultiHeadAttention"})
_NORMS = frozenset({"LayerNormalization", "RMSNormalization", "ReduceMean"})
_RECURRENT = frozenset({"LSTM", "GRU", "RNN"})
_OF_KIND = {
    "convolutional": "ranges equalization rounding bias regions prune blocks widths",
    "transformer": "precision ranges smoothing rounding bias regions prune blocks",
    "recurrent": "precision ranges rounding bias regions",
    "other": "precision ranges rounding bias regions prune widths",
}


def _require_ranges(text: str) -> None:
    if text != "auto":
        find_method(text)


def _require_length(text: str) -> None:
    if text != "none":
        parse_length(text)


WIDEST: Mapping[str, Variable] = {
    variable.name: variable
    for variable in (
        Choice("precision", PRECISIONS, PRECISIONS),
        Choice("ranges", RANGES, check=_require_ranges),
        Choice("equalization", ("none", "auto"), ("none", "auto")),
        Choice("smoothing", SMOOTHING, SMOOTHING),
        Choice("rounding", ("nearest", "gptq"), ("nearest", "gptq")),
        Choice("bias", ("plain", "corrected"), ("plain", "corrected")),
        Number("regions", 0.0, 1.0, STEP),
        Number("prune", 0.0, PRUNED, STEP, most=0.95),
        Number("blocks", 0, BLOCKS, 1, most=inf, whole=True),
        Choice("round", ROUNDED, ROUNDED),
        Choice("widths", ("allocated", "evolved"), ("allocated", "evolved")),
        Choice("training", ("none", LENGTH), check=_require_length),
        Choice("sparsity", ("none", "2:4")),
    )
}
"""All variables that any model and target have, in the order in which they are told."""


def kind_of(model: ir.Model) -> str:
    """What kind of model a graph is: convolutional, transformer, recurrent or other."""
    counts = Counter(node.op_type for node in model.graph)
    products = counts["MatMul"] + counts["Gemm"]
    if _RECURRENT.intersection(counts):
        return "recurrent"
    if counts["Conv"] + counts["ConvTranspose"] > products:
        return "convolutional"
    if _ATTENTION.intersection(counts) and _NORMS.intersection(counts):
        return "transformer"
    return "other"


def known_variables(shared: Shared) -> dict[str, Variable]:
    """All variables that mean something for this model on this target, at their widest."""
    target = shared.session.target
    precisions = {"float", *(mode for mode in STORED if mode in target.stores)}
    names = {"precision"}
    if shared.can_be_integer:
        dynamic = bool(shared.regions.mix.possible[:, 2].any())
        precisions |= {"int8", "int8-dynamic"} if dynamic else {"int8"}
        names |= {"ranges", "equalization", "smoothing", "rounding", "bias", "regions"}
    found: dict[str, Variable] = {}
    multiple = target.channel_multiple(integer=shared.can_be_integer)
    if shared.can_shrink(multiple):
        names.add("prune")
        found["round"] = Choice("round", (str(multiple), str(2 * multiple)), ROUNDED)
        if shared.is_timed and shared.can_be_integer:
            names.add("widths")
        if find_spec("torch") is not None:
            names.add("training")
    known = tuple(one for one in PRECISIONS if one in precisions)
    found["precision"] = Choice("precision", known, known)
    if shared.removable:
        most = shared.removable
        found["blocks"] = Number("blocks", 0, min(BLOCKS, most), 1, most=most, whole=True)
    if target.sparsities:
        patterns = ("none", *sorted(target.sparsities))
        found["sparsity"] = Choice("sparsity", patterns, patterns)
    found |= {name: WIDEST[name] for name in names - set(found)}
    return in_order(found)


def in_order(found: Mapping[str, Variable]) -> dict[str, Variable]:
    """Variables in the order of `WIDEST`."""
    return {name: found[name] for name in WIDEST if name in found}


def default_variables(shared: Shared, known: Mapping[str, Variable]) -> dict[str, Variable]:
    """What is varied without a word in the recipe."""
    kind = kind_of(shared.start.baseline)
    found = {name: known[name] for name in _OF_KIND[kind].split() if name in known}
    if "sparsity" in known:
        found["sparsity"] = known["sparsity"]
    small = {"size", "memory"}.intersection(shared.objectives)
    precision = known["precision"]
    assert isinstance(precision, Choice), "a word"
    fast = [one for one in precision.values if one in ("int8", "int8-dynamic")]
    wanted = tuple(one for one in precision.values if one in fast or (small and one in STORED))
    if len(wanted or precision.values) > 1 and (small or "precision" in found):
        found["precision"] = precision.narrowed(wanted or precision.values)
    elif "precision" in found:
        del found["precision"]
    if "smoothing" in found:
        found["smoothing"] = known["smoothing"].narrowed(SMOOTHED)
    return in_order(found)
