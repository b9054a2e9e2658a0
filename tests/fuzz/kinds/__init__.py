"""Kinds of cases: each makes files, breaks one, and names the command that reads it."""

from collections.abc import Callable

from fuzz.case import Case
from fuzz.kinds import (
    arrays,
    checkpoints,
    graphs,
    kept,
    options,
    pictures,
    recipes,
    results,
    tables,
)

KINDS: dict[str, Callable[[Case], list[str]]] = {
    "onnx-fields": graphs.fields,
    "onnx-graphs": graphs.graphs,
    "onnx-odd": graphs.odd,
    "onnx-bytes": graphs.anything,
    "onnx-outside": graphs.outside,
    "exported": checkpoints.archive("program.pt2"),
    "torchscript": checkpoints.archive("script.pt", "--input", "x:float32[batch,16]"),
    "states": checkpoints.states,
    "weights": checkpoints.plain,
    "data": arrays.arrays,
    "pictures": pictures.pictures,
    "tables": tables.tables,
    "recipe": recipes.recipe,
    "plan": results.plan,
    "report": results.report,
    "manifest": results.manifest,
    "statistics": kept.statistics,
    "cache": kept.cache,
    "options": options.options,
}
OF_TORCH = ("exported", "torchscript", "states", "weights")
DEAR = (*OF_TORCH, "onnx-odd", "plan", "cache")
"""Kinds of which every case takes a second."""
WEIGHTS = {"onnx-fields": 5, "onnx-graphs": 8, "onnx-bytes": 3, "onnx-outside": 2, "options": 3}
"""How many cases of a kind come where there is one of another."""


def make(case: Case) -> list[str]:
    """Write the files of a case; the arguments of its command."""
    case.folder.mkdir(parents=True)
    case.argv = KINDS[case.kind](case)
    return case.argv
