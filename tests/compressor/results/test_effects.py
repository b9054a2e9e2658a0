from graphs import residual

from compressor.results.effects import effects, weight_bytes, weight_effect

BYTES = 4 * (2 * (32 * 32 * 9 + 32) + 320 + 10)


def test_a_stage_that_makes_the_graph_has_nothing_before():
    nodes, weights = effects(None, residual())
    assert (nodes.amount, nodes.before, nodes.after) == ("nodes", None, 8)
    assert (weights.amount, weights.before, weights.after) == ("weight_bytes", None, BYTES)


def test_bytes_before_and_after():
    before, after = residual(), residual()
    node = next(node for node in after.graph if node.op_type == "Gemm")
    weight = node.inputs[1]
    assert weight is not None
    node.replace_input_with(1, None)
    after.graph.initializers.pop(weight.name)
    found = weight_effect(before, after)
    assert found.before == BYTES == weight_bytes(before)
    assert found.after == BYTES - 4 * 320
