"""The artifact in a session of a user's own: what departs is told, what does not is not."""

import numpy as np
from quantized import conv, graph, images, qdq

from compressor.graph.files import save_model
from exporters.trt.plain import departures

X = {"x": np.random.default_rng(0).standard_normal((1, 32, 8, 8)).astype(np.float32)}


def test_a_graph_that_the_optimizer_leaves_right_is_not_told_of(tmp_path):
    save_model(graph(images(conv("x", "a") + qdq("a", "y"))), tmp_path / "model.onnx")
    assert departures(tmp_path / "model.onnx", X) == ()


def test_biases_that_the_optimizer_ruins_are_told_with_what_to_do(tmp_path):
    body, bias = conv("x", "a") + qdq("a", "y"), np.full(32, 3, np.float32)
    made = graph(images(body), b=bias, ws=np.full(32, 1e-12, np.float32))
    save_model(made, tmp_path / "model.onnx")
    (told,) = departures(tmp_path / "model.onnx", X)
    assert "'y' (cosine" in told
    assert "WeightBiasQuantization" in told
