"""Studies of a small problem, whose trials cost nothing; makers of small graphs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx_ir as ir
from seams import Timed, images, looking, session_of

from compressor.evaluation.attribution import NodeSeconds
from compressor.graph.files import initializer_bytes
from compressor.recipe.recipe import MeasureOptions, PruneOptions, QuantizeOptions, Recipe
from compressor.results.front import Found
from compressor.search.data_split import split_data
from compressor.search.recipes.making import Maker
from compressor.search.recipes.shared import Shared
from compressor.search.recipes.study import Asked, Study, open_study
from compressor.search.recipes.variables import Choice, Number, Space

SPACE = Space({"a": Choice("a", ("x", "y", "z")), "b": Number("b", 0.0, 1.0, 0.05)})
IDENTITY = {"model": "abc", "target": "ort"}


def opened(folder: Path, sampler: str = "tpe", **more: object) -> Study:
    folder.mkdir(exist_ok=True)
    how = {"objectives": 2, "storage": None, "name": "compress", "seed": 5} | more
    return open_study(folder, SPACE, IDENTITY, sampler=sampler, **how)  # type: ignore[arg-type]


def evaluate(study: Study, asked: Asked) -> None:
    cost = float(asked.point["b"]) + "xyz".index(str(asked.point["a"])) / 4
    violated = {"max-drop": 1.0 if asked.point["a"] == "z" else -1.0}
    study.tell(asked, Found(loss=cost), (cost, (1 - float(asked.point["b"])) ** 2), violated)


class Kernels(Timed):
    """A clock by which nodes take as long as the graph has weights."""

    def nodes(self, shipped: ir.Model, source: ir.Model, *_: object, **__: object) -> NodeSeconds:
        seconds = 1e-9 * initializer_bytes(shipped)
        return NodeSeconds({node.name or "": seconds for node in source.graph}, 0.0)


def noted(name: str, find: Callable[[], Any]) -> Any:
    del name
    return find()


def maker_of(model: ir.Model, **prune: Any) -> Maker:
    """What makes recipes of a graph that takes the `images` of `graphs.residual`."""
    recipe = Recipe(
        quantize=QuantizeOptions(cpu="avx2", batch=4),
        prune=PruneOptions(**prune),
        measure=MeasureOptions(seconds=0.05, metric="cosine"),
    )
    timer = Kernels(ratio=lambda _: 1.0)
    session = session_of(model, recipe, timer, calibration=images(40, 3))
    data = split_data(session.prepared, 0)
    assert data.quality is not None
    session = looking(session, data.quality)
    return Maker(Shared(session, data.calibration, data.quality, noted, ("quality", "size")))
