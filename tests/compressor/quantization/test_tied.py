"""A table that is also a product's weight is stored once, as integers."""

import numpy as np
import onnx_ir as ir
import pytest
from cached_decoder import TOKENS, WIDTH, calls, decoder
from graphs import model

from compressor.errors import RecipeError
from compressor.graph.files import initializer_bytes
from compressor.graph.session import open_session
from compressor.quantization.dynamic import insert_dynamic
from compressor.quantization.tied import tied_tables
from exporters.ort.target import TARGET

POLICY = TARGET.policy("avx2")


def named(graph: ir.Model, operator: str, output: str) -> str:
    found = (node for node in graph.graph if node.op_type == operator)
    return next(node.name or "" for node in found if node.outputs[0].name == output)


def test_the_look_up_reads_the_integers_of_the_product():
    graph = decoder(tied=True)
    look_up, product = named(graph, "Gather", "x"), named(graph, "MatMul", "logits")
    products = [node.name or "" for node in graph.graph if node.op_type == "MatMul"]
    assert tied_tables(graph, products) == {look_up: product}
    assert tied_tables(graph, products, least=TOKENS * WIDTH + 1) == {}
    exact = open_session(graph).run(None, calls())[0]
    apart, tied = graph.clone(), graph.clone()
    insert_dynamic(apart, [product], POLICY)
    insert_dynamic(tied, [product], POLICY, tied={look_up: product})
    saved = initializer_bytes(apart) - initializer_bytes(tied)
    assert 4 * TOKENS * WIDTH - 64 <= saved <= 4 * TOKENS * WIDTH
    made = open_session(tied).run(None, calls())[0]
    assert np.square(exact - made).sum() < 10**-3.3 * np.square(exact).sum()
    node = next(n for n in tied.graph if n.name == look_up)
    assert node.outputs[0].name == "x"


def test_rows_are_the_products_integers_times_their_scales():
    graph = decoder(tied=True)
    look_up, product = named(graph, "Gather", "x"), named(graph, "MatMul", "logits")
    insert_dynamic(graph, [product], POLICY, tied={look_up: product})
    stored = next(n for n in graph.graph if n.op_type == "MatMulInteger").inputs[1]
    assert stored is not None
    assert stored.const_value is not None
    scale = graph.graph.initializers[f"{stored.name}_scale"].const_value
    assert scale is not None
    graph.graph.outputs.append(next(n for n in graph.graph if n.name == look_up).outputs[0])
    ids = calls()["ids"]
    rows = open_session(graph).run(["x"], calls())[0]
    wanted = stored.const_value.numpy().T[ids] * scale.numpy()[ids][..., None]
    np.testing.assert_allclose(rows, wanted, rtol=1e-6)


def test_a_gemm_that_turns_its_weight_shares_the_table_itself():
    graph = model(
        """g (int64[n] ids, float[30,16] table) => (float[n,30] y)
        {
            x = Gather(table, ids)
            y = Gemm<transB=1>(x, table)
        }""",
        table=[30, 16],
    )
    gather, gemm = (node.name or "" for node in graph.graph)
    assert tied_tables(graph, [gemm]) == {gather: gemm}
    ids = np.array([3, 29, 0])
    exact = open_session(graph).run(None, {"ids": ids})[0]
    insert_dynamic(graph, [gemm], POLICY, tied={gather: gemm})
    assert "table" not in graph.graph.initializers
    made = open_session(graph).run(None, {"ids": ids})[0]
    assert np.square(exact - made).sum() < 10**-3 * np.square(exact).sum()


def test_a_table_of_other_numbers_is_not_tied():
    graph = decoder()
    look_up, product = named(graph, "Gather", "x"), named(graph, "MatMul", "logits")
    assert tied_tables(graph, [product]) == {}
    with pytest.raises(RecipeError, match="looks up nothing"):
        insert_dynamic(graph, [product], POLICY, tied={look_up: product})
