"""A product that reads a turned table: a weight of its own, shared again where it is float."""

import numpy as np
import onnx_ir as ir
import pytest
from graphs import model

from compressor.graph.files import initializer_bytes
from compressor.graph.invariants import check
from compressor.graph.session import open_session
from compressor.plan.plan import GraphPlan
from compressor.plan.realize import decided_graph, realize
from compressor.quantization.own_weights import with_own_weights, with_shared_tables
from compressor.quantization.tied import tied_tables
from exporters.ort.target import TARGET

TEXT = """g (int64[b,n] ids, float[16,8] w, float[30,16] table) => (float[b,n,30] y, float[b,n,8] z)
{
    x = Gather(table, ids)
    z = MatMul(x, w)
    turned = Transpose<perm=[1,0]>(table)
    y = MatMul(x, turned)
}"""
IDS = {"ids": np.array([[3, 29, 0]])}


def tied() -> ir.Model:
    made = model(TEXT, table=[30, 16], w=[16, 8])
    for node, name in zip(made.graph, ("look", "narrow", "turn", "head"), strict=True):
        node.name = name
    return made


def answers(graph: ir.Model) -> list[np.ndarray]:
    return open_session(graph).run(None, IDS)


def kinds(graph: ir.Model) -> list[str]:
    return [node.op_type for node in graph.graph]


def test_a_weight_of_its_own_computes_the_same_and_is_shared_again() -> None:
    graph = tied()
    own = with_own_weights(graph)
    check(own, "giving weights")
    assert kinds(own) == ["Gather", "MatMul", "MatMul"]
    assert kinds(graph)[2] == "Transpose", "the graph stays as it is"
    shared = with_shared_tables(own.clone())
    check(shared, "sharing tables")
    assert kinds(shared) == kinds(graph)
    assert initializer_bytes(shared) == initializer_bytes(graph)
    assert [node.name for node in shared.graph] == [node.name for node in graph.graph]
    for one in (own, shared):
        for found, wanted in zip(answers(one), answers(graph), strict=True):
            np.testing.assert_array_equal(found, wanted)
    assert with_own_weights(own) is own
    assert with_shared_tables(shared) is shared


OTHERWISE = {
    "an output": """g (float[2,16] x, float[30,16] table) => (float[2,30] y, float[16,30] t)
    {
        t = Transpose<perm=[1,0]>(table)
        y = MatMul(x, t)
    }""",
    "another reader": """g (float[2,16] x, float[30,16] table) => (float[2,30] y, float[16,30] z)
    {
        t = Transpose(table)
        z = Neg(t)
        y = MatMul(x, t)
    }""",
    "two, and not right before": """g (float[2,16] x, float[30,16] table)
        => (float[2,30] y, float[2,30] z)
    {
        t = Transpose<perm=[1,0]>(table)
        u = Transpose(table)
        n = Neg(x)
        y = MatMul(n, t)
        z = MatMul(n, u)
    }""",
    "a body first": """g (float[2,16] x, bool c, float[30,16] table)
        => (float[2,30] y, float[2,30] z)
    {
        t = Transpose<perm=[1,0]>(table)
        y = If(c) <then_branch = a () => (float[2,30] p) { p = MatMul(x, t) },
                   else_branch = b () => (float[2,30] q) { q = Gemm(x, t) }>
        z = MatMul(x, t)
    }""",
    "bodies alone": """g (float[2,16] x, bool c, float[30,16] table) => (float[2,30] y)
    {
        t = Transpose<perm=[1,0]>(table)
        y = If(c) <then_branch = a () => (float[2,30] p) { p = MatMul(x, t) },
                   else_branch = b () => (float[2,30] q) { q = Gemm(x, t) }>
    }""",
}


@pytest.mark.parametrize("case", OTHERWISE)
def test_whatever_else_reads_it_the_file_is_the_same_again(case: str) -> None:
    """A Transpose that stays is read again, and one for a body stands before what has the body."""
    graph = model(OTHERWISE[case], table=[30, 16])
    for index, node in enumerate(graph.graph.all_nodes()):
        node.name = f"{node.op_type}_{index}"
    own = with_own_weights(graph)
    check(own, "giving weights")
    assert own is not graph
    shared = with_shared_tables(own)
    check(shared, "sharing tables")
    assert ir.to_proto(shared).SerializeToString() == ir.to_proto(graph).SerializeToString()


@pytest.mark.parametrize("name", ["table", "table_turned"])
def test_what_was_changed_since_is_not_shared(name: str) -> None:
    own = with_own_weights(tied())
    value = own.graph.initializers[name]
    assert value.const_value is not None
    value.const_value = ir.tensor(2 * value.const_value.numpy(), name=name)
    assert with_shared_tables(own) is own


def test_a_turned_input_stays() -> None:
    graph = model(
        """g (float[16,n] x, float[16,8] w) => (float[n,8] y)
        {
            turned = Transpose<perm=[1,0]>(x)
            y = MatMul(turned, w)
        }""",
        w=[16, 8],
    )
    assert with_own_weights(graph) is graph


@pytest.mark.parametrize("quantized", ["head", "narrow", "float"])
def test_a_plan_stores_the_table_once_whatever_it_quantizes(quantized: str) -> None:
    graph, whole = tied(), 4 * 30 * 16
    plan = GraphPlan(graph="", baseline="folded", ship="float", cpu="host", weight_bits=7)
    if quantized != "float":
        plan = plan.model_copy(update={"ship": "int8", "dynamic": (quantized,)})
    if quantized == "head":
        plan = plan.model_copy(update={"tied": tied_tables(with_own_weights(graph), ["head"])})
        assert plan.tied == {"look": "head"}
    made = realize(decided_graph(graph, plan, TARGET), plan, TARGET)
    check(made, "realizing")
    stored = [one.const_value for one in made.graph.initializers.values() if one.const_value]
    floats = sum(one.nbytes for one in stored if one.dtype == ir.DataType.FLOAT)
    assert floats < whole if quantized == "head" else whole <= floats < 2 * whole
    for found, wanted in zip(answers(made), answers(graph), strict=True):
        assert np.square(found - wanted).sum() <= 10**-3 * np.square(wanted).sum()
    again = realize(with_own_weights(graph), plan, TARGET)
    assert ir.to_proto(again).SerializeToString() == ir.to_proto(made).SerializeToString()
