"""Graphs whose matrices are stored in blocks: what is replaced, what stays, and the numbers."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import onnx_ir as ir
import pytest
from decoders import VOCABULARY, WIDTH, decoder, tokens
from graphs import model

from calibration.dataset import CalibrationSet, open_dataset
from compressor.errors import RecipeError
from compressor.graph.cost import macs, parameters
from compressor.graph.files import serialize
from compressor.graph.session import open_session
from compressor.graph.shapes import input_specs
from compressor.quantization.blocks import BlockFormat, grid_of, nearest, packed, unpacked
from compressor.quantization.grams import Gram, each_gram
from compressor.quantization.matrices import find_matrices
from compressor.quantization.storing import store
from compressor.quantization.weight_only import Storing, StoringOptions, choose
from compressor.results.effects import weight_bytes

FLOAT, INTEGER = 1, 4
"""Accuracy levels of MatMulNBits."""


def bound(graph: ir.Model, **arrays: np.ndarray) -> CalibrationSet:
    return open_dataset(arrays).bind(input_specs(graph))


def outputs(graph: ir.Model, **feeds: np.ndarray) -> np.ndarray:
    return open_session(graph).run(None, feeds)[0]


def operators(graph: ir.Model) -> list[str]:
    return [node.op_type for node in graph.graph]


def stored(graph: ir.Model, chosen: Storing, level: int = FLOAT) -> ir.Model:
    return store(graph, chosen.forms, chosen.packed, accuracy_level=level)


def product(inputs: int, outputs_: int, operator: str = "MatMul(x, w)") -> ir.Model:
    shape = f"{outputs_},{inputs}" if "transB" in operator else f"{inputs},{outputs_}"
    bias = "float[N] b, ".replace("N", str(outputs_)) if ", b)" in operator else ""
    sizes = {"w": [int(size) for size in shape.split(",")]}
    return model(
        f"g (float[n,{inputs}] x, {bias}float[{shape}] w) => (float[n,{outputs_}] y) "
        f"{{ [layer] y = {operator} }}",
        **sizes,
        **({"b": [outputs_]} if bias else {}),
    )


PRODUCTS = ["MatMul(x, w)", "Gemm(x, w)", "Gemm<transB=1>(x, w)", "Gemm(x, w, b)"]


@pytest.mark.parametrize("operator", PRODUCTS)
@pytest.mark.parametrize(("inputs", "width"), [(64, 8), (70, 5), (33, 1)])
@pytest.mark.parametrize("bits", [4, 8])
def test_the_runtime_computes_what_the_reference_does(
    operator: str, inputs: int, width: int, bits: int
):
    graph = product(inputs, width, operator)
    weight, bias = (
        graph.graph.initializers[name].const_value.numpy()
        if name in graph.graph.initializers
        else 0
        for name in ("w", "b")
    )
    values = weight if "transB" in operator else weight.T
    x = np.random.default_rng(5).standard_normal((7, inputs)).astype(np.float32)
    for symmetric in (False, True):
        form = BlockFormat(bits, 16, symmetric)
        grid = grid_of(values, form)
        kept = packed(nearest(values, grid, form), grid, form)
        expected = x.astype(np.float64) @ unpacked(kept, inputs, form).T + bias
        for level, tolerance in ((FLOAT, 1e-5), (INTEGER, 1e-2)):
            made = store(graph, {"w": form}, {"w": kept}, accuracy_level=level)
            assert operators(made) == ["MatMulNBits"]
            scale = np.abs(expected).max()
            np.testing.assert_allclose(
                outputs(made, x=x) / scale, expected / scale, atol=tolerance, rtol=0
            )


def test_a_tied_embedding_is_stored_once_and_nothing_is_left_in_twice():
    graph = decoder()
    before = serialize(graph)
    chosen = choose(graph, bound(graph, ids=tokens()), StoringOptions(bits=4))
    made = stored(graph, chosen)
    assert operators(made).count("GatherBlockQuantized") == 1
    assert operators(made).count("MatMulNBits") == 3
    assert "Transpose" not in operators(made)
    names = set(made.graph.initializers)
    assert not {"table", "up", "down"} & names
    assert len([name for name in names if name.startswith("table_")]) == 3, "codes, scales, shape"
    assert all(value.uses() for value in made.graph.initializers.values())
    assert weight_bytes(made) < 0.31 * weight_bytes(graph)
    assert serialize(graph) == before, "the float graph is not touched"


@pytest.mark.parametrize(("bits", "least"), [(4, 15.0), (8, 35.0)])
@pytest.mark.parametrize("level", [FLOAT, INTEGER])
def test_the_decoder_keeps_its_outputs(bits: int, least: float, level: int):
    graph, ids = decoder(), tokens(4)
    chosen = choose(graph, bound(graph, ids=tokens()), StoringOptions(bits=bits))
    made = stored(graph, chosen, level)
    expected, found = outputs(graph, ids=ids), outputs(made, ids=ids)
    ratio = 10 * np.log10((expected**2).sum() / ((expected - found) ** 2).sum())
    assert ratio > least
    longer = tokens(2, 11)
    assert outputs(made, ids=longer).shape == (2, 11, VOCABULARY)


def test_parameters_and_macs_count_the_same():
    graph, feeds = decoder(), {"ids": tokens(1)}
    for bits in (4, 8):
        how = StoringOptions(bits=bits, table_bits=bits)
        made = stored(graph, choose(graph, None, how))
        assert parameters(made) == parameters(graph)
        assert macs(made, feeds).macs == macs(graph, feeds).macs


def test_weights_that_are_not_finite_stay_float():
    graph = model("g (float[n,64] x, float[64,32] w) => (float[n,32] y) { y = MatMul(x, w) }",
                  w=[64, 32])  # fmt: skip
    weight = graph.graph.initializers["w"]
    broken = weight.const_value.numpy().copy()
    broken[3, 5] = np.nan
    weight.const_value = ir.tensor(broken, name="w")
    chosen = choose(graph, None, StoringOptions(bits=4))
    assert not chosen.forms
    assert list(chosen.float_reasons.values()) == ["weights of 'w' are not finite"]


def test_a_bias_counts_beside_blocks_too():
    graph = model(
        "g (float[n,64] x, float[64,32] w, float[32] b) => (float[n,32] y) { y = Gemm(x, w, b) }",
        w=[64, 32], b=[32],
    )  # fmt: skip
    made = stored(graph, choose(graph, None, StoringOptions(bits=4)))
    assert operators(made) == ["MatMulNBits"]
    assert parameters(made) == parameters(graph) == 64 * 32 + 32


def test_a_table_alone_counts_and_computes_the_same():
    graph = model(
        "g (int64[n] ids, float[20,32] table) => (float[n,32] y) { y = Gather(table, ids) }",
        table=[20, 32],
    )
    ids = np.array([3, 19, 0])
    for bits in (4, 8):
        chosen = choose(graph, None, StoringOptions(bits=bits, table_bits=bits))
        made = stored(graph, chosen)
        assert parameters(made) == parameters(graph)
        expected = unpacked(chosen.packed["table"], 32, chosen.forms["table"])[ids]
        np.testing.assert_allclose(outputs(made, ids=ids), expected, atol=1e-6)


def test_tables_get_more_bits_and_the_nearest_integers():
    graph = decoder()
    chosen = choose(graph, bound(graph, ids=tokens()), StoringOptions(bits=4))
    assert {name: form.bits for name, form in chosen.forms.items()} == {
        "table": 8, "up": 4, "down": 4,
    }  # fmt: skip
    verdicts = {one.subject: one.verdict for one in chosen.record.decisions}
    assert verdicts["table"] == "nearest"
    assert verdicts["up"] == "GPTQ"
    assert chosen.record.notices == ()
    assert choose(graph, None, StoringOptions(bits=4, table_bits=4)).forms["table"].bits == 4


def test_without_data_all_are_the_nearest_and_a_notice_says_so():
    chosen = choose(decoder(), None, StoringOptions(bits=4))
    assert chosen.record.parameters["chosen"] == {"nearest": 3}
    assert "--calib" in chosen.record.notices[0]


def test_the_integers_are_the_same_whatever_fits_into_memory():
    graph = decoder()
    data = bound(graph, ids=tokens())
    whole = choose(graph, data, StoringOptions(bits=4, batch=4))
    parts = choose(graph, data, StoringOptions(bits=4, batch=4, memory=10**6))
    for name, one in whole.packed.items():
        np.testing.assert_array_equal(one.codes, parts.packed[name].codes)


def test_inputs_too_wide_for_the_memory_keep_the_nearest_and_say_why():
    graph = decoder()
    data = bound(graph, ids=tokens())
    chosen = choose(graph, data, StoringOptions(bits=4, batch=4, memory=1000))
    near = choose(graph, None, StoringOptions(bits=4, batch=4))
    for name, one in near.packed.items():
        np.testing.assert_array_equal(one.codes, chosen.packed[name].codes)
    said = [decision.reason for decision in chosen.record.decisions]
    assert any("wide: 0 MB are needed, and --memory allows 0 MB" in reason for reason in said)


@pytest.mark.parametrize(
    ("text", "shapes", "why"),
    [
        ("y = MatMul(x, w)", {"w": [64, 64]}, "left in float as asked"),
        ("y = Gemm<alpha=2.0>(x, w)", {"w": [64, 64]}, "alpha"),
        ("h = Mul(w, x) y = MatMul(h, w)", {"w": [64, 64]}, "Mul"),
        ("h = MatMul(x, w) t = Transpose(w) y = MatMul(h, t)", {"w": [64, 64]}, "columns"),
        ("y = MatMul(x, w)", {"w": [64, 4]}, None),
        ("y = MatMul(x, w)", {"w": [3, 64]}, "no smaller"),
    ],
)  # fmt: skip
def test_what_cannot_be_stored_stays_float_with_a_reason(text: str, shapes: dict, why: str | None):
    (inputs, width), leave = shapes["w"], ("w",) if why == "left in float as asked" else ()
    graph = model(
        f"g (float[64,{inputs}] x, float[{inputs},{width}] w) => (y) {{ {text} }}", **shapes
    )
    chosen = choose(graph, None, StoringOptions(bits=4, leave=leave))
    if why is None:
        assert (list(chosen.forms), chosen.float_reasons) == (["w"], {})
        return
    assert not chosen.forms
    assert chosen.nodes == ()
    assert any(why in reason for reason in chosen.float_reasons.values())


def test_a_weight_read_in_a_subgraph_or_given_out_stays():
    graph = model(
        "g (float[n,64] x, float[64,64] w) => (float[n,64] y, float[64,64] w) { y = MatMul(x, w) }",
        w=[64, 64],
    )
    matrices, reasons = find_matrices(graph)
    assert matrices == []
    assert "output" in reasons["MatMul_0"]


def test_rows_that_are_no_whole_blocks_stay_float():
    graph = model(
        "g (int64[n] ids, float[20,40] table) => (float[n,40] y) { y = Gather(table, ids) }",
        table=[20, 40],
    )
    assert "whole blocks" in choose(graph, None, StoringOptions(bits=4)).float_reasons["Gather_0"]


def test_a_plan_of_another_graph_is_refused():
    graph = decoder()
    chosen = choose(graph, None, StoringOptions(bits=4))
    with pytest.raises(RecipeError, match="'up' is not the matrix"):
        store(product(64, 8), {"up": chosen.forms["up"]}, chosen.packed, accuracy_level=FLOAT)


def test_grams_are_those_of_numpy_and_a_part_is_held_out():
    graph = decoder()
    ids = tokens(20)
    found: dict[str, Gram] = {}
    each_gram(graph, {"x": WIDTH}, bound(graph, ids=ids), found.__setitem__, batch=2)
    rows = graph.graph.initializers["table"].const_value.numpy()[ids].astype(np.float64)
    held = np.arange(20) // 2 % 4 == 3
    for part, which in ((found["x"].held, held), (found["x"].seen, ~held)):
        flat = rows[which].reshape(-1, WIDTH)
        np.testing.assert_allclose(part, flat.T @ flat, rtol=1e-4, atol=1e-4)


def test_values_that_float32_cannot_square_leave_the_nearest_integers():
    graph = product(64, 8)
    data = bound(graph, x=np.full((4, 64), 3e38, np.float32))
    found = choose(graph, data, StoringOptions(bits=4))
    expected = choose(graph, None, StoringOptions(bits=4))
    (name,) = found.packed
    np.testing.assert_array_equal(found.packed[name].codes, expected.packed[name].codes)
    assert "too large for float32" in found.record.decisions[0].reason


class Shown:
    """A progress that counts units of each stage."""

    def __init__(self) -> None:
        self.totals: dict[str, int] = {}
        self.done: Counter[str] = Counter()

    @contextmanager
    def stage(self, name: str, total: int) -> Iterator[Callable[[int], None]]:
        self.totals[name] = total
        yield lambda count: self.done.update({name: count})

    def notice(self, text: str) -> None:
        raise AssertionError(text)


@pytest.mark.parametrize("with_data", [True, False])
def test_it_is_shown_how_many_matrices_are_left(with_data: bool):
    graph, shown = decoder(), Shown()
    data = bound(graph, ids=tokens(20)) if with_data else None
    count = len(choose(graph, data, StoringOptions(bits=4, batch=4), progress=shown).forms)
    assert shown.totals["store weights"] == shown.done["store weights"] == count > 1
    assert shown.done["run samples"] == (20 if with_data else 0)
