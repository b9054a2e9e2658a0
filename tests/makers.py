"""Makers of recipes of small graphs, by a clock that needs no kernels."""

from collections.abc import Callable
from typing import Any

import onnx_ir as ir
from seams import Timed, images, looking, session_of

from compressor.evaluation.attribution import NodeSeconds
from compressor.graph.files import initializer_bytes
from compressor.graph.tensors import Arrays
from compressor.recipe.measuring import MeasureOptions
from compressor.recipe.pruning import PruneOptions
from compressor.recipe.quantizing import QuantizeOptions
from compressor.recipe.recipe import Recipe
from compressor.search.data_split import split_data
from compressor.search.recipes.making import Maker
from compressor.search.recipes.shared import Shared


class Kernels(Timed):
    """A clock by which nodes take as long as the graph has weights."""

    def nodes(self, shipped: ir.Model, source: ir.Model, *_: object, **__: object) -> NodeSeconds:
        seconds = 1e-9 * initializer_bytes(shipped)
        return NodeSeconds({node.name or "": seconds for node in source.graph}, 0.0)


def noted(name: str, find: Callable[[], Any]) -> Any:
    del name
    return find()


def maker_of(model: ir.Model, data: Arrays | None = None, **prune: Any) -> Maker:
    """What makes recipes of a graph that takes `data`, or the `images` of `graphs.residual`."""
    recipe = Recipe(
        quantize=QuantizeOptions(cpu="avx2", batch=4),
        prune=PruneOptions(**prune),
        measure=MeasureOptions(seconds=0.05, metric="cosine"),
    )
    timer = Kernels(ratio=lambda _: 1.0)
    session = session_of(model, recipe, timer, calibration=data or images(40, 3))
    split = split_data(session.prepared, 0)
    assert split.quality is not None
    session = looking(session, split.quality)
    return Maker(Shared(session, split.calibration, split.quality, noted, ("quality", "size")))
