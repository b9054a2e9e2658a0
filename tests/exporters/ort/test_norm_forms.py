"""Norms, the factors behind them and SiLU, in the forms that have one kernel each."""

import onnx_ir as ir
import pytest
from exporters_forms import drawn, operators, rewritten
from graphs import model
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.dataset import open_dataset
from compressor.graph.shapes import infer_shapes
from compressor.quantization.static import CalibrationOptions, calibrate, quantize_static
from exporters.ort.forms.affine import ChannelAffine
from exporters.ort.forms.group_norm import InstanceNorm
from exporters.ort.forms.rms_norm import RmsNorm
from exporters.ort.forms.silu import QuickGelu
from exporters.ort.target import TARGET

SIZES = st.integers(1, 4)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.integers(1, 3), SIZES, st.integers(2, 5), st.sampled_from([18, 21]), st.booleans())
def test_group_normalization_is_instance_normalization_of_groups(
    groups: int, own: int, size: int, opset: int, is_open: bool
):
    channels = groups * own
    width = "w" if is_open else str(size)
    length = groups if opset == 18 else channels
    graph = model(
        f"""g (float[n,{channels},{size},{width}] x, float[{length}] a, float[{length}] b)
            => (float[n,{channels},{size},{width}] y)
        {{ y = GroupNormalization<num_groups={groups}, epsilon=0.001>(x, a, b) }}""",
        a=[length], b=[length],
    )  # fmt: skip
    graph.graph.opset_imports[""] = opset
    made = rewritten(InstanceNorm(), graph, {"x": drawn(2, channels, size, size)}, 2e-5)
    names = ["Reshape", "InstanceNormalization", "Reshape", "BatchNormalization"]
    assert operators(made) == names


ROOTS = {
    "div": "r = Sqrt(e)\n y = Div(d, r)",
    "reciprocal": "r = Sqrt(e)\n o = Reciprocal(r)\n y = Mul(d, o)",
    "one over": "one = Constant<value=float {1.0}>()\n r = Sqrt(e)\n o = Div(one, r)\n"
    "y = Mul(o, d)",
}
SQUARES = {
    "pow": "two = Constant<value=float {2.0}>()\n s = Pow(d, two)",
    "mul": "s = Mul(d, d)",
    "twice": "m2 = ReduceMean(x, axes)\n d2 = Sub(x, m2)\n s = Mul(d2, d2)",
}


def by_hand(root: str, square: str, axes: str = "2,3", behind: str = "") -> ir.Model:
    return model(
        f"""g (float[n,3,4,5] x) => (float[n,3,4,5] y)
        {{
            axes = Constant<value_ints=[{axes}]>()
            m = ReduceMean(x, axes)
            d = Sub(x, m)
            {square}
            v = ReduceMean(s, axes)
            eps = Constant<value=float {{0.001}}>()
            e = Add(v, eps)
            {root}
            {behind}
        }}"""
    )


@pytest.mark.parametrize("root", ROOTS.values(), ids=ROOTS.keys())
@pytest.mark.parametrize("square", SQUARES.values(), ids=SQUARES.keys())
def test_a_norm_written_by_hand_is_instance_normalization(root: str, square: str):
    made = rewritten(InstanceNorm(), by_hand(root, square), {"x": drawn(2, 3, 4, 5)}, 2e-5)
    assert operators(made).count("InstanceNormalization") == 1
    assert not {"Div", "Mul", "Sqrt", "ReduceMean"} & set(operators(made))


ALONE = {
    "axes that are not all": by_hand(ROOTS["div"], SQUARES["mul"], "3"),
    "axes of channels": by_hand(ROOTS["div"], SQUARES["mul"], "1,2,3"),
    "epsilon outside of the root": model(
        """g (float[n,3,4,5] x) => (float[n,3,4,5] y)
        {
            axes = Constant<value_ints=[2,3]>()
            m = ReduceMean(x, axes)
            d = Sub(x, m)
            s = Mul(d, d)
            v = ReduceMean(s, axes)
            r = Sqrt(v)
            eps = Constant<value=float {0.001}>()
            e = Add(r, eps)
            y = Div(d, e)
        }"""
    ),
    "a variance that others read": model(
        """g (float[n,3,4,5] x) => (float[n,3,4,5] y, float[n,3,1,1] v)
        {
            axes = Constant<value_ints=[2,3]>()
            m = ReduceMean(x, axes)
            d = Sub(x, m)
            s = Mul(d, d)
            v = ReduceMean(s, axes)
            eps = Constant<value=float {0.001}>()
            e = Add(v, eps)
            r = Sqrt(e)
            y = Div(d, r)
        }"""
    ),
}


@pytest.mark.parametrize("graph", ALONE.values(), ids=ALONE.keys())
def test_what_is_another_norm_is_left_alone(graph: ir.Model):
    assert InstanceNorm().places(infer_shapes(graph)) == []


MEANS = {
    "reduced": "axes = Constant<value_ints=[-1]>()\n m = ReduceMean(s, axes)",
    "a pool": "m = GlobalAveragePool(s)",
}
RECIPROCAL = "i = Reciprocal(r)\n z = Mul(x, i)"
DIVIDED = "z = Div(x, r)"


def rms(mean: str, over: str, scaled: bool) -> ir.Model:
    return model(
        f"""g (float[n,3,8] x, float[8] g) => (float[n,3,8] {"y" if scaled else "z"})
        {{
            two = Constant<value=float {{2.0}}>()
            s = Pow(x, two)
            {mean}
            eps = Constant<value=float {{0.001}}>()
            e = Add(m, eps)
            r = Sqrt(e)
            {over}
            {"y = Mul(z, g)" if scaled else ""}
        }}""",
        g=[8],
    )  # fmt: skip


@pytest.mark.parametrize("mean", MEANS.values(), ids=MEANS.keys())
@pytest.mark.parametrize("scaled", [True, False])
def test_rms_norm_is_written_as_it_is_fused(mean: str, scaled: bool):
    graph = rms(mean, RECIPROCAL, scaled)
    made = rewritten(RmsNorm(), graph, {"x": drawn(2, 3, 8)})
    assert TARGET.integer_nodes(made)[1] == {"SimplifiedLayerNormalization": 1}


def test_an_rms_norm_that_is_fused_is_left_alone():
    assert RmsNorm().places(infer_shapes(rms(MEANS["reduced"], DIVIDED, scaled=True))) == []


@pytest.mark.parametrize(
    ("scale", "shift"), [([3, 1, 1], [1, 3, 1, 1]), ([3, 1, 1], [1]), ([], [3, 1, 1])]
)
def test_factor_and_shift_of_channels_are_one_operator(scale: list[int], shift: list[int]):
    graph = model(
        """g (float[n,3,4,w] x, float a, float b) => (float[n,3,4,w] y)
        {
            m = Mul(a, x)
            y = Add(m, b)
        }""",
        a=scale, b=shift,
    )  # fmt: skip
    made = rewritten(ChannelAffine(), graph, {"x": drawn(2, 3, 4, 5)})
    assert operators(made) == ["BatchNormalization"]


@pytest.mark.parametrize("shape", [[4, 1], [5], [3, 4, 1]])
def test_a_factor_of_positions_is_left_alone(shape: list[int]):
    graph = model(
        """g (float[n,3,4,5] x, float a, float[3,1,1] b) => (float[n,3,4,5] y)
        {
            m = Mul(x, a)
            y = Add(m, b)
        }""",
        a=shape, b=[3, 1, 1],
    )  # fmt: skip
    assert ChannelAffine().places(infer_shapes(graph)) == []


def between(gate: str) -> ir.Model:
    return infer_shapes(
        model(
            f"""g (float[n,32,8,8] x, float[32,32,3,3] w, float[32,32,3,3] v)
                => (float[n,32,8,8] y)
            {{
                c = Conv<pads=[1,1,1,1]>(x, w)
                {gate}
                y = Conv<pads=[1,1,1,1]>(h, v)
            }}""",
            w=[32, 32, 3, 3], v=[32, 32, 3, 3],
        )
    )  # fmt: skip


SILUS = {
    "silu": "s = Sigmoid(c)\n h = Mul(c, s)",
    "turned": "s = Sigmoid(c)\n h = Mul(s, c)",
    "with a factor": "a = Constant<value=float {1.702}>()\n p = Mul(c, a)\n s = Sigmoid(p)\n"
    "h = Mul(c, s)",
    "in front of a join": "s = Sigmoid(c)\n b = Mul(c, s)\n h = Add(b, x)",
}


@pytest.mark.parametrize("gate", SILUS.values(), ids=SILUS.keys())
def test_silu_between_layers_is_one_operator(gate: str):
    form, graph = QuickGelu(), between(gate)
    (place,) = form.places(graph)
    assert (set(place.reads), place.writes) == ({"x"}, "y")
    made = rewritten(form, graph, {"x": drawn(2, 32, 8, 8)})
    assert {"Sigmoid", "Mul"} & set(operators(made)) == set()


def test_a_silu_in_one_operator_is_whole_between_integers():
    graph, policy = between(SILUS["silu"]), TARGET.policy("vnni")
    QuickGelu().rewrite(graph, QuickGelu().places(graph)[0].node)
    data = open_dataset({"x": drawn(8, 32, 8, 8)})
    chosen = calibrate(graph, data, policy, CalibrationOptions("minmax"))
    made = quantize_static(graph, chosen.integer, chosen.ranges, policy, weight_bits=8)
    integer, floating = TARGET.integer_nodes(made)
    assert integer["QLinearConv"] == 2
    assert floating["QuickGelu"] == 1


GATES = {
    "a gate of its own": "s = Sigmoid(x)\n h = Mul(c, s)",
    "a gate that others read": "s = Sigmoid(c)\n m = Mul(c, s)\n h = Add(m, s)",
    "no layer in front": "r = Relu(c)\n s = Sigmoid(r)\n h = Mul(r, s)",
}


@pytest.mark.parametrize("gate", GATES.values(), ids=GATES.keys())
def test_another_gate_is_left_alone(gate: str):
    assert QuickGelu().places(between(gate)) == []
