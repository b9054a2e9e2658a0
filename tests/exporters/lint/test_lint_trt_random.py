"""Whatever the real parser rejects in a quantized layer, a rule has found before it."""

from importlib import util

import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from quantized import conv, graph, images, product, rows

from compressor.graph.files import save_model
from exporters.lint.trt.graph import prepared
from exporters.lint.trt.rules import RULES

needs_parser = pytest.mark.skipif(
    util.find_spec("tensorrt_rtx") is None,
    reason="tensorrt_rtx is not installed: pip install '.[trt-rtx]' (Linux on x86-64)",
)

FLOATS = st.sampled_from([np.float32, np.float16, ml_dtypes.bfloat16])
FLOATS_8 = [ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2]
INTEGERS = st.sampled_from(
    [np.int8, np.uint8, np.int16, np.int32, ml_dtypes.int4, ml_dtypes.uint4, *FLOATS_8]
)
SCALES = st.sampled_from([0.1, 0.1, 0.1, 0.0, -1.0, np.inf, np.nan])
COUNTS = st.sampled_from([(), (1,), (32,), (16,)])
OPERATORS = st.sampled_from(["Conv", "ConvTranspose", "MatMul", "Gemm", "Gemm<transB=1>"])


@st.composite
def layers(draw: st.DrawFn) -> ir.Model:
    """A layer whose Q/DQ is right in most respects and wrong in some."""
    operator, axis = draw(OPERATORS), draw(st.sampled_from([0, 1, -1, 2]))
    kind = draw(FLOATS)
    other = draw(st.one_of(st.just(kind), st.just(np.float32)))
    activation = draw(st.one_of(st.just(np.int8), INTEGERS))
    weight = draw(st.one_of(st.just(np.int8), INTEGERS))
    scales, weight_scales = draw(st.one_of(st.just(()), COUNTS)), draw(COUNTS)
    zeros = draw(st.one_of(st.just(weight_scales), COUNTS))
    is_conv = operator.startswith("Conv")
    tensors = {
        "s": np.full(scales, draw(SCALES)).astype(kind),
        "z": np.full(scales, draw(st.sampled_from([0, 0, 0, 3]))).astype(activation),
        "ws": np.full(weight_scales, draw(SCALES)).astype(other),
        "wz": np.zeros(zeros).astype(weight),
        "b": np.zeros(32).astype(draw(st.one_of(st.just(kind), st.just(np.float32)))),
        "wq": np.zeros((32, 32, 3, 3)).astype(weight),
        "mq": np.zeros((32, 32)).astype(weight),
    }
    body = (conv if is_conv else product)("x", "y", operator=operator, axis=axis)
    for with_zero in (", s, z)", ", ws, wz)"):
        if draw(st.booleans()):
            body = body.replace(with_zero, with_zero.rpartition(",")[0] + ")")
    text = (images if is_conv else rows)(body)
    name = {np.float32: "float", np.float16: "float16"}.get(kind, "bfloat16")
    text = text.replace("(float[", f"({name}[")
    return graph(text, opset=draw(st.sampled_from([13, 19, 21, 23])), **tensors)


@needs_parser
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(layers())
def test_what_the_parser_rejects_is_an_error_of_some_rule(tmp_path_factory, model: ir.Model):
    from exporters.lint.trt.child import parse

    found = [finding for rule in RULES for finding in rule(prepared(model))]
    path = tmp_path_factory.getbasetemp() / "random.onnx"
    save_model(model, path)
    said = parse(str(path))
    errors = {finding.rule for finding in found if finding.severity == "error"}
    assert said["accepted"] or errors, said["errors"]
