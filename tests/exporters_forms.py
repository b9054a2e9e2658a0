"""Whether a form computes what was there, in float."""

import numpy as np
import onnx_ir as ir

from compressor.folding.check import equal_outputs
from compressor.graph.invariants import check
from compressor.graph.shapes import infer_shapes
from compressor.graph.tensors import Arrays
from exporters.base import Form


def operators(graph: ir.Model) -> list[str]:
    return [node.op_type for node in graph.graph]


def rewritten(form: Form, graph: ir.Model, feeds: Arrays, rtol: float = 1e-5) -> ir.Model:
    """The graph with every place in the form, equal to what it was; there is a place at least."""
    graph = infer_shapes(graph)
    places = form.places(graph)
    assert places, f"{form.name} found nothing in {operators(graph)}"
    made = graph.clone()
    for place in places:
        form.rewrite(made, place.node)
    check(made, "a form")
    found = equal_outputs(graph, made, feeds, rtol=rtol, atol=1e-7)
    assert found.equal, f"{form.name}: {found}"
    return made


def drawn(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
