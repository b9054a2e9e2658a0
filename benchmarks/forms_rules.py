"""Each rule that writes operators in another form, alone: is it equal, and does it pay here?

    python benchmarks/forms_rules.py [GRAPH.onnx...] [--seconds 0.5]

A small graph of random weights stands for each rule. Its float outputs are held against those of
the rewritten graph, relative to the largest: 1e-5 at most. Speed is raced on one thread in the
precision that ships, as the search does it; what does not gain 5 % is not shipped on this machine,
and the table says so. Beside it, graphs with trained weights can be named: all rules are applied
wherever they fit, and held to the same. Ends with 1 where outputs differ by more.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir
from rich.console import Console
from rich.table import Table

from calibration.dataset import open_dataset
from compressor.evaluation.latency import compare_latency
from compressor.folding import fold
from compressor.graph.files import load_model
from compressor.graph.session import open_session
from compressor.graph.shapes import infer_shapes, input_specs
from compressor.graph.tensors import Arrays
from compressor.quantization.static import CalibrationOptions, calibrate, quantize_static
from compressor.results.measurements import LatencyConfig
from compressor.system.hardware import has_int8_dot
from exporters.base import Form, find_target
from exporters.ort.forms import FORMS

MOST, WORTH = 1e-5, 1.05
CONV = "Conv<pads=[1,1,1,1]>"
TRANSPOSED = "ConvTranspose<strides=[2,2], pads=[1,1,1,1]>"
HEADS = """s = Constant<value_ints=[0,128,8,32]>()
    {0}r = Reshape({0}, s)
    {0}h = Transpose<perm=[0,2,1,3]>({0}r)
    """
CORE = f"""{HEADS.format("q")}{HEADS.format("k")}{HEADS.format("v")}
    kt = Transpose<perm=[0,1,3,2]>(kh)
    c = Constant<value=float {{0.1767767}}>()
    d = MatMul(qh, kt)
    e = Mul(d, c)
    p = Softmax<axis=-1>(e)
    o = MatMul(p, vh)
    t = Transpose<perm=[0,2,1,3]>(o)
    u = Constant<value_ints=[0,128,256]>()
    y = Reshape(t, u)"""
ROWS = "float[n,128,256] q, float[n,128,256] k, float[n,128,256] v"
RESIZED = """f = Constant<value_floats=[1.0,1.0,2.0,2.0]>()
    u = Resize<mode="{0}">(x, , f)
    """
GRAPHS: dict[str, tuple[str, str, str, dict[str, list[int]]]] = {
    "sub-pixel": (
        "float[n,64,16,16] x", "float[n,64,32,32] y", f"y = {TRANSPOSED}(x, w)",
        {"w": [64, 64, 4, 4]},
    ),
    "phases": (
        "float[n,64,16,16] x", "float[n,64,32,32] y",
        f"{RESIZED.format('nearest')}y = {CONV}(u, w)", {"w": [64, 64, 3, 3]},
    ),
    "point": (
        "float[n,100,1,1] x", "float[n,512,4,4] y", "y = ConvTranspose(x, w)",
        {"w": [100, 512, 4, 4]},
    ),
    "instance-norm": (
        "float[n,128,16,16] x", "float[n,128,16,16] y",
        "y = GroupNormalization<num_groups=32>(x, g, b)", {"g": [32], "b": [32]},
    ),
    "rms-norm": (
        "float[n,16,512] x", "float[n,16,512] y",
        """two = Constant<value=float {2.0}>()
        a = Constant<value_ints=[-1]>()
        eps = Constant<value=float {0.000001}>()
        s = Pow(x, two)
        m = ReduceMean(s, a)
        e = Add(m, eps)
        q = Sqrt(e)
        i = Reciprocal(q)
        z = Mul(x, i)
        y = Mul(z, g)""", {"g": [512]},
    ),
    "channel-affine": (
        "float[n,128,16,16] x", "float[n,128,16,16] y", "m = Mul(x, g)\ny = Add(m, b)",
        {"g": [128, 1, 1], "b": [128, 1, 1]},
    ),
    "quick-gelu": (
        "float[n,64,16,16] x", "float[n,64,16,16] y",
        f"c = {CONV}(x, w)\ns = Sigmoid(c)\nm = Mul(c, s)\ny = {CONV}(m, v)",
        {"w": [64, 64, 3, 3], "v": [64, 64, 3, 3]},
    ),
    "attention": (
        ROWS, "float[n,128,256] y", CORE, {},
    ),
    "multi-head": (
        ROWS, "float[n,128,256] y", CORE, {},
    ),
    "rows": (
        "float[n,128,256] x", "float[n,128,256] y", "m = MatMul(x, w)\ny = Add(m, b)",
        {"w": [256, 256], "b": [256]},
    ),
    "linear-resize": (
        "float[n,64,16,16] x", "float[n,64,32,32] y",
        RESIZED.format("linear").replace("u = ", "y = "), {},
    ),
}  # fmt: skip


def graph_of(name: str) -> ir.Model:
    """The graph that stands for a rule."""
    inputs, outputs, body, shapes = GRAPHS[name]
    weights = "".join(f", float[{','.join(map(str, shape))}] {w}" for w, shape in shapes.items())
    lines = dict.fromkeys(line.strip() for line in body.splitlines() if line.strip())
    text = f"g ({inputs}{weights}) => ({outputs}) {{ {chr(10).join(lines)} }}"
    made = ir.from_onnx_text(f'<ir_version: 10, opset_import: ["" : 20]>\n{text}')
    rng = np.random.default_rng(0)
    for value in [value for value in made.graph.inputs if value.name in shapes]:
        made.graph.inputs.remove(value)
        array = (rng.standard_normal(shapes[value.name or ""]) * 0.05).astype(np.float32)
        value.const_value = ir.tensor(array, name=value.name)
        made.graph.register_initializer(value)
    for index, node in enumerate(made.graph):
        node.name = f"{node.op_type}_{index}"
    return infer_shapes(made)


def feeds_of(graph: ir.Model, count: int) -> Arrays:
    """Numbers around zero for every input; what is open is 1, but for the first size."""
    rng = np.random.default_rng(1)
    found = {}
    for spec in input_specs(graph):
        inner = [size if isinstance(size, int) else 1 for size in spec.shape[1:]]
        first = spec.shape[0] if spec.shape and isinstance(spec.shape[0], int) else count
        found[spec.name] = rng.standard_normal((first, *inner)).astype(spec.dtype)
    return found


def rewritten(graph: ir.Model, forms: Sequence[Form]) -> tuple[ir.Model, int]:
    """A copy with the first form that fits at each place, and how many places there are."""
    made, seen = graph.clone(), set[str]()
    for form in forms:
        for place in form.places(graph):
            if place.node not in seen:
                seen.add(place.node)
                form.rewrite(made, place.node)
    return made, len(seen)


def apart(one: ir.Model, other: ir.Model, feeds: Arrays) -> float:
    """The largest difference of outputs, relative to the largest of them."""
    pairs = zip(
        *(open_session(m, optimize=False).run(None, feeds) for m in (one, other)), strict=True
    )
    return max(float(np.abs(a - b).max() / max(np.abs(a).max(), 1e-30)) for a, b in pairs)


def quantized(graph: ir.Model) -> ir.Model:
    """In 8 bits, as far as there are kernels."""
    policy = find_target("ort").policy("host")
    data = open_dataset(feeds_of(graph, 16))
    chosen = calibrate(graph, data, policy, CalibrationOptions("minmax"))
    bits = policy.weight.bits
    if not chosen.integer:
        return graph
    return quantize_static(graph, chosen.integer, chosen.ranges, policy, weight_bits=bits)


def speed(one: ir.Model, other: ir.Model, feeds: Arrays, seconds: float) -> float | None:
    """Of the second over the first, timed in turn; None where the machine is too busy."""
    config, target = LatencyConfig(batch=1, threads=1), find_target("ort")
    with target.open(one, threads=1) as a, target.open(other, threads=1) as b:
        race = compare_latency(a, b, feeds, config, deciding=True, seconds=seconds)
    return race.speed if race.is_known else None


def rule_rows(seconds: float) -> Iterator[tuple[list[str], bool]]:
    """A line of the table for each rule, and whether it computes the same."""
    for form in FORMS:
        graph = graph_of(form.name)
        made, _ = rewritten(graph, [form])
        feeds = feeds_of(graph, 1)
        found = apart(graph, made, feeds)
        pair = [graph, made]
        if form.computes == "integers":
            pair = [quantized(one) for one in pair]
        gained = speed(pair[0], pair[1], feeds, seconds)
        told = "too busy" if gained is None else f"{gained:.2f}x"
        ships = "" if gained is None else "ships" if gained >= WORTH else "not shipped here"
        precision = "8 bits" if form.computes == "integers" else "float"
        yield [form.name, f"{found:.1e}", precision, told, ships], found <= MOST


def trained_rows(paths: Sequence[Path]) -> Iterator[tuple[list[str], bool]]:
    """A line of the table for each graph that was named."""
    for path in paths:
        loaded = load_model(path)
        feeds = feeds_of(loaded, 1)
        graph, _ = fold(loaded, feeds)
        made, places = rewritten(graph, FORMS)
        found = apart(graph, made, feeds)
        yield [path.name, f"{found:.1e}", "", f"{places} places", ""], found <= MOST


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure every rule."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("graphs", nargs="*", type=Path, help="with trained weights")
    parser.add_argument("--seconds", type=float, default=0.5, help="for each comparison")
    options = parser.parse_args(arguments)
    dot = "with" if has_int8_dot("host") else "without"
    table = Table(title=f"Rules alone, one thread, a CPU {dot} an 8-bit dot product")
    for heading in ("rule", "differs by", "raced in", "speed", "on this machine"):
        table.add_column(heading)
    held = True
    for cells, equal in (*rule_rows(options.seconds), *trained_rows(options.graphs)):
        table.add_row(*cells)
        held &= equal
    Console(width=110).print(table)
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
