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
from exporters.lint.trt.rules import RULES
from exporters.trt.graph import prepared

needs_parser = pytest.mark.skipif(
    util.find_spec("tensorrt_rtx") is None,
    reason="tensorrt_rtx is not installed: pip install '.[trt-rtx]' (Linux on x86-64)",
)

FLOATS = st.sampled_from([np.float32, np.float16, ml_dtypes.bfloat16])
FLOATS_8 = [ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2]
INTEGERS = st.sampled_from(
    [np.uint8, np.int16, np.int32, ml_dtypes.int4, ml_dtypes.uint4, *FLOATS_8]
)
SCALES = st.sampled_from([0.0, -1.0, np.inf, np.nan])
COUNTS = st.sampled_from([(), (1,), (32,), (16,)])
OPERATORS = st.sampled_from(["Conv", "ConvTranspose", "MatMul", "Gemm", "Gemm<transB=1>"])
FAULTS = ["axis", "scale", "scales", "zero", "integer", "float", "bias"]
FAULTS += [f"weight {fault}" for fault in ("scale", "scales", "zeros", "integer")]


@st.composite
def layers(draw: st.DrawFn) -> ir.Model:
    """A layer that is sound but for one or two faults in its Q/DQ."""
    faults = draw(st.sets(st.sampled_from(FAULTS), max_size=2))

    def either(fault: str, right, wrong):
        return draw(wrong) if fault in faults else right

    operator, kind = draw(OPERATORS), draw(FLOATS)
    is_conv = operator.startswith("Conv")
    axis = 0 if operator in ("Conv", "Gemm<transB=1>") else 1
    activation = either("integer", np.int8, INTEGERS)
    weight = either("weight integer", np.int8, INTEGERS)
    scales = either("scales", (), COUNTS)
    counts = either("weight scales", (32,), COUNTS)
    tensors = {
        "s": np.full(scales, either("scale", 0.1, SCALES)).astype(kind),
        "z": np.full(scales, either("zero", 0, st.just(3))).astype(activation),
        "ws": np.full(counts, either("weight scale", 0.1, SCALES)).astype(
            either("float", kind, FLOATS)
        ),
        "wz": np.zeros(either("weight zeros", counts, COUNTS)).astype(weight),
        "b": np.zeros(32).astype(either("bias", kind, FLOATS)),
        "wq": np.zeros((32, 32, 3, 3)).astype(weight),
        "mq": np.zeros((32, 32)).astype(weight),
    }
    axis = either("axis", axis, st.sampled_from([0, 1, -1, 2, 5]))
    body = (conv if is_conv else product)("x", "y", operator=operator, axis=axis)
    for zero_point in (", s, z)", ", ws, wz)"):
        if draw(st.integers(0, 3)) == 0:
            body = body.replace(zero_point, zero_point.rpartition(",")[0] + ")")
    name = {np.float32: "float", np.float16: "float16"}.get(kind, "bfloat16")
    text = (images if is_conv else rows)(body).replace("(float[", f"({name}[")
    return graph(text, opset=draw(st.sampled_from([21, 23])), **tensors)


@needs_parser
@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(layers())
def test_what_the_parser_rejects_is_an_error_of_some_rule(tmp_path_factory, model: ir.Model):
    from exporters.lint.trt.child import parse

    found = [finding for rule in RULES for finding in rule(prepared(model))]
    path = tmp_path_factory.getbasetemp() / "random.onnx"
    save_model(model, path)
    said = parse(str(path))
    errors = {finding.rule for finding in found if finding.severity == "error"}
    assert said["accepted"] or errors, said["errors"]
