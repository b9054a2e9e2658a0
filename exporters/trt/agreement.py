"""What an engine computes, held against ONNX Runtime on the same graph.

At the least, the most likely and the greatest shapes of every profile, on samples that are cut or
repeated to them.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from compressor.graph.names import label
from compressor.graph.tensors import Array, Arrays
from exporters.base import Agreement, Runner
from exporters.ort.target import OrtRunner
from exporters.trt.graph import is_integer, layers, prepared
from exporters.trt.kernels import read_types
from exporters.trt.notation import Profile, allows

EIGHT_BITS = {"INT8", "FP8"}
"""Types of 8 bits, as `kernels` calls them."""


def agreements(
    runner: Runner, model: Path, profiles: Sequence[Profile], feeds: Arrays
) -> tuple[Agreement, ...]:
    """One for each output at each shape.

    Args:
        runner: The engine.
        model: The graph that it was built from.
        profiles: Its optimization profiles; none for fixed shapes.
        feeds: Samples of every input.
    """
    found = []
    with OrtRunner(model, 0, spin=False, integers=False) as reference:
        for sized in _at_shapes(profiles, feeds):
            expected, got = reference.run(sized), runner.run(sized)
            shapes = {name: tuple(array.shape) for name, array in sized.items()}
            found += [_agreement(n, shapes, expected[n], got[n]) for n in expected if n in got]
    return tuple(found)


def not_integer(told: Sequence[dict[str, Any]], model: ir.Model) -> tuple[str, ...]:
    """The nodes that read 8 bits in the graph, and more in the engine.

    Args:
        told: Layers, as the engine inspector describes them. A layer names the nodes that it was
            made of in its name or metadata, and the types of its inputs; those of which it tells
            neither are not listed.
        model: The graph.
    """
    found = []
    for node in layers(prepared(model)):
        name = label(node)
        own = [one for one in told if name and _is_of(one, name)]
        kinds = {kind for one in own for kind in read_types(one)}
        if is_integer(node) and kinds and not kinds & EIGHT_BITS:
            found.append(name)
    return tuple(found)


def _is_of(layer: dict[str, Any], name: str) -> bool:
    """TensorRT joins names by " + ", and writes metadata as "[ONNX Layer: NAME]"."""
    if f"[ONNX Layer: {name}]" in str(layer.get("Metadata", "")):
        return True
    return name in str(layer.get("Name", "")).split(" + ")


def _at_shapes(profiles: Sequence[Profile], feeds: Arrays) -> Iterator[dict[str, Array]]:
    if not profiles:
        yield dict(feeds)
    for profile in profiles:
        corners = zip(*profile.values(), strict=True)
        for shapes in dict.fromkeys(corners):
            wanted = dict(zip(profile, shapes, strict=True))
            yield {name: _sized(array, wanted.get(name)) for name, array in feeds.items()}


def fitting(profiles: Sequence[Profile], feeds: Arrays) -> dict[str, Array]:
    """The samples as they are where a profile allows them, else at the likely shapes of the first.

    Args:
        profiles: Profiles of the engine; none for fixed shapes.
        feeds: Samples of every input.
    """
    shapes = {name: array.shape for name, array in feeds.items()}
    if not profiles or any(allows(profile, shapes) for profile in profiles):
        return dict(feeds)
    likely = {name: span.likely for name, span in profiles[0].items()}
    return {name: _sized(array, likely.get(name)) for name, array in feeds.items()}


def _sized(array: Array, shape: tuple[int, ...] | None) -> Array:
    """Cut or repeated along each axis; zeros where there is nothing to repeat."""
    if shape is not None and array.size == 0:
        return np.zeros(shape, array.dtype)
    for axis, size in enumerate(() if shape is None else shape):
        array = np.take(array, np.arange(size) % array.shape[axis], axis)
    return array


def _agreement(
    output: str, shapes: dict[str, tuple[int, ...]], expected: Array, got: Array
) -> Agreement:
    one, other = expected.astype(np.float64), got.astype(np.float64)
    a, b = one.ravel(), other.ravel()
    lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
    same = bool(np.array_equal(a, b))
    cosine = float(np.vdot(a, b)) / lengths if lengths > 0 else float(same)
    decides = one.ndim > 1 and one.shape[-1] > 1
    top = float(np.mean(one.argmax(-1) == other.argmax(-1))) if decides and one.size else None
    return Agreement(
        output=output,
        shapes=shapes,
        cosine=cosine,
        max_abs=float(np.abs(a - b).max()) if a.size else 0.0,
        top1=top,
    )
