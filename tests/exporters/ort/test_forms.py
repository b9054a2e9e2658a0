"""Forms compute exactly what the operators computed that they stand for, at all sizes."""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
import pytest
from graphs import model
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.dataset import open_dataset
from compressor.errors import RecipeError
from compressor.folding.check import equal_outputs
from compressor.graph.invariants import check
from compressor.graph.session import open_session
from compressor.graph.shapes import infer_shapes, shape_of
from compressor.quantization.static import CalibrationOptions, calibrate, quantize_static
from exporters.base import Form
from exporters.base.form import advice
from exporters.ort.forms import FORMS
from exporters.ort.forms.phases import Phases
from exporters.ort.forms.point import Point
from exporters.ort.forms.sub_pixel import SubPixel
from exporters.ort.target import TARGET

SMALL = st.integers(1, 4)
ENLARGING: tuple[Form, ...] = (SubPixel(), Phases(), Point())


@st.composite
def transposed(draw: st.DrawFn) -> tuple[ir.Model, list[int]]:
    """A ConvTranspose of one or two axes, and the sizes of its image."""
    axes = draw(st.integers(1, 2))
    strides, kernel = draw(_each(axes, SMALL)), draw(_each(axes, st.integers(1, 6)))
    sizes, dilations = draw(_each(axes, st.sampled_from([1, 3, 5]))), draw(_each(axes, TWO))
    pads, groups = draw(_each(2 * axes, st.integers(0, 2))), draw(TWO)
    more = [draw(st.integers(0, stride - 1)) for stride in strides]
    made = [
        (n - 1) * s + (k - 1) * d + 1 - pads[i] - pads[axes + i] + more[i]
        for i, (n, s, k, d) in enumerate(zip(sizes, strides, kernel, dilations, strict=True))
    ]
    if min(made) < 1:
        return draw(transposed())
    node = (
        f"ConvTranspose<strides={strides}, pads={pads}, output_padding={more}, "
        f"dilations={dilations}, group={groups}>(x, w, b)"
    )
    return draw(_graph(node, sizes, made, [2 * groups, 3, *kernel], 3 * groups)), sizes


@st.composite
def resized(draw: st.DrawFn) -> tuple[ir.Model, list[int]]:
    """A nearest Resize and the Conv behind it, and the sizes of its image."""
    axes = draw(st.integers(1, 2))
    factors, kernel = draw(_each(axes, st.integers(2, 3))), draw(_each(axes, SMALL))
    sizes, dilations = draw(_each(axes, st.sampled_from([1, 3, 5]))), draw(_each(axes, TWO))
    pads, groups = draw(_each(2 * axes, st.integers(0, 2))), draw(TWO)
    made = [
        n * f + pads[i] + pads[axes + i] - (k - 1) * d
        for i, (n, f, k, d) in enumerate(zip(sizes, factors, kernel, dilations, strict=True))
    ]
    if min(made) < 1:
        return draw(resized())
    transform, nearest = draw(
        st.sampled_from([("asymmetric", "floor"), ("half_pixel", "round_prefer_floor")])
    )
    scales = ", ".join(str(float(one)) for one in [1, 1, *factors])
    ahead = (
        f"f = Constant<value_floats=[{scales}]>()\n"
        f'u = Resize<mode="nearest", coordinate_transformation_mode="{transform}", '
        f'nearest_mode="{nearest}">(x, , f)'
    )
    node = f"Conv<pads={pads}, dilations={dilations}, group={groups}>(u, w, b)"
    weight = [3 * groups, 2, *kernel]
    return draw(_graph(node, sizes, made, weight, 3 * groups, ahead, 2 * groups)), sizes


TWO = st.integers(1, 2)


def _each(count: int, one: st.SearchStrategy[int]) -> st.SearchStrategy[list[int]]:
    return st.lists(one, min_size=count, max_size=count)


@st.composite
def _graph(
    draw: st.DrawFn,
    node: str,
    sizes: Sequence[int],
    made: Sequence[int],
    weight: list[int],
    outputs: int,
    ahead: str = "",
    inputs: int | None = None,
) -> ir.Model:
    """The node between an input, whose sizes may be open, and a function behind it."""
    is_open = draw(st.booleans())
    behind = draw(st.sampled_from(["Relu", "LeakyRelu", "Tanh", "Identity"]))

    def dims(letter: str, numbers: Sequence[int]) -> str:
        return ",".join(f"{letter}{i}" if is_open else str(n) for i, n in enumerate(numbers))

    return infer_shapes(
        model(
            f"""g (float[n,{inputs or weight[0]},{dims("h", sizes)}] x, float w, float b)
                => (float[n,{outputs},{dims("o", made)}] y)
            {{
                {ahead}
                c = {node}
                y = {behind}(c)
            }}""",
            w=weight, b=[outputs],
        )
    )  # fmt: skip


@settings(max_examples=80, deadline=None, derandomize=True)
@given(st.one_of(transposed(), resized()))
def test_every_form_computes_the_same(one: tuple[ir.Model, list[int]]):
    graph, sizes = one
    channels = shape_of(graph.graph.inputs[0])[1]
    feeds = {"x": np.random.default_rng(0).standard_normal((2, channels, *sizes), np.float32)}
    for form in ENLARGING:
        for place in form.places(graph):
            made = graph.clone()
            form.rewrite(made, place.node)
            check(made, "a form")
            assert not {"ConvTranspose", "Resize"} & {node.op_type for node in made.graph}
            found = equal_outputs(graph, made, feeds, rtol=1e-5, atol=1e-6)
            assert found.equal, f"{form.name}: {found}"
            _require_true_shapes(made, feeds)


def _require_true_shapes(made: ir.Model, feeds: dict[str, np.ndarray]) -> None:
    """Sizes that are stated are those that a run has."""
    probe = made.clone()
    values = [v for node in probe.graph for v in node.outputs if v.shape is not None]
    probe.graph.outputs[:] = values
    for value, array in zip(
        values, open_session(probe, optimize=False).run(None, feeds), strict=True
    ):
        stated = list(shape_of(value) or ())
        assert len(stated) == array.ndim, value.name
        assert all(
            a in (b, None) or isinstance(a, str) for a, b in zip(stated, array.shape, strict=True)
        )


def generator(behind: str = "Relu", size: str = "8") -> ir.Model:
    return infer_shapes(
        model(
            f"""g (float[n,32,{size},{size}] x, float[32,32,3,3] w, float v, float b)
                => (float[n,32,o,p] y)
            {{
                h = Conv<pads=[1,1,1,1]>(x, w)
                r = Relu(h)
                c = ConvTranspose<strides=[2,2], pads=[1,1,1,1]>(r, v, b)
                a = {behind}(c)
                y = Conv<pads=[1,1,1,1]>(a, w)
            }}""",
            w=[32, 32, 3, 3], v=[32, 32, 4, 4], b=[32],
        )
    )  # fmt: skip


@pytest.mark.parametrize("form", [SubPixel(), Phases()])
@pytest.mark.parametrize("size", ["8", "s"])
def test_all_of_a_form_is_integer_between_integers(form: Form, size: str):
    graph, policy = generator(size=size), TARGET.policy("vnni")
    data = open_dataset({"x": np.random.default_rng(0).standard_normal((8, 32, 8, 8), np.float32)})
    form.rewrite(graph, "ConvTranspose_2")
    chosen = calibrate(graph, data, policy, CalibrationOptions("minmax"))
    made = quantize_static(graph, chosen.integer, chosen.ranges, policy, weight_bits=8)
    integer, floating = TARGET.integer_nodes(made)
    assert floating.keys() <= {"QuantizeLinear", "DequantizeLinear"}
    assert integer["QLinearConv"] == (3 if form.name == "sub-pixel" else 6)


def test_an_image_of_one_position_becomes_a_product():
    graph = infer_shapes(
        model(
            """g (float[n,8,1,1] x, float w, float b) => (float[n,4,4,4] y)
            { y = ConvTranspose(x, w, b) }""",
            w=[8, 4, 4, 4], b=[4],
        )
    )  # fmt: skip
    (place,) = Point().places(graph)
    assert (place.operator, place.reads, place.writes) == ("ConvTranspose", ("x",), "y")
    made = graph.clone()
    Point().rewrite(made, place.node)
    assert [node.op_type for node in made.graph] == ["Conv", "Reshape"]
    assert made.graph.initializers["ConvTranspose_0_weight"].shape == (64, 8, 1, 1)
    feeds = {"x": np.random.default_rng(0).standard_normal((3, 8, 1, 1), np.float32)}
    assert equal_outputs(graph, made, feeds, rtol=1e-6).equal


ALONE = {
    "padding that follows from sizes": """{
        y = ConvTranspose<auto_pad="SAME_UPPER", strides=[2,2]>(x, w) }""",
    "a stated shape": """{
        y = ConvTranspose<output_shape=[16,16], strides=[2,2]>(x, w) }""",
    "a weight that is computed": """{
        v = Relu(w)
        y = ConvTranspose<strides=[2,2]>(x, v) }""",
    "linear": """{
        f = Constant<value_floats=[1.0,1.0,2.0,2.0]>()
        u = Resize<mode="linear">(x, , f)
        y = Conv(u, w) }""",
    "nearest, but not by repeating": """{
        f = Constant<value_floats=[1.0,1.0,3.0,3.0]>()
        u = Resize<mode="nearest", coordinate_transformation_mode="asymmetric">(x, , f)
        y = Conv(u, w) }""",
    "an image that others read": """{
        f = Constant<value_floats=[1.0,1.0,2.0,2.0]>()
        u = Resize<mode="nearest", coordinate_transformation_mode="asymmetric",
                   nearest_mode="floor">(x, , f)
        c = Conv(u, w)
        d = Conv<pads=[1,1,1,1]>(u, w)
        y = Concat<axis=1>(c, c) }""",
    "strides behind a Resize": """{
        f = Constant<value_floats=[1.0,1.0,2.0,2.0]>()
        u = Resize<mode="nearest", coordinate_transformation_mode="asymmetric",
                   nearest_mode="floor">(x, , f)
        y = Conv<strides=[2,2]>(u, w) }""",
}  # fmt: skip


@pytest.mark.parametrize("body", ALONE.values(), ids=ALONE.keys())
def test_what_is_not_the_same_is_left_alone(body: str):
    graph = model(
        f"g (float[n,4,8,8] x, float[4,4,3,3] w) => (float[n,c,h,k] y)\n{body}", w=[4, 4, 3, 3]
    )
    assert [place for form in ENLARGING for place in form.places(infer_shapes(graph))] == []


def test_an_activation_that_is_read_elsewhere_stays_behind():
    graph = infer_shapes(
        model(
            """g (float[n,4,8,8] x, float w) => (float[n,4,16,16] y)
            {
                c = ConvTranspose<strides=[2,2], pads=[1,1,1,1]>(x, w)
                r = Relu(c)
                y = Add(c, r)
            }""",
            w=[4, 4, 4, 4],
        )
    )  # fmt: skip
    made = graph.clone()
    SubPixel().rewrite(made, "ConvTranspose_0")
    assert [node.op_type for node in made.graph][-3:] == ["Transpose", "Relu", "Add"]
    feeds = {"x": np.random.default_rng(0).standard_normal((1, 4, 8, 8), np.float32)}
    assert equal_outputs(graph, made, feeds, rtol=1e-5).equal


@pytest.mark.parametrize("form", FORMS)
def test_a_place_that_is_none_is_refused_by_name(form: Form):
    with pytest.raises(RecipeError, match="'Conv_0'"):
        form.rewrite(generator(), "Conv_0")


def test_a_graph_tells_what_it_can_be_instead():
    assert advice(FORMS, generator()) == (
        "ConvTranspose (ConvTranspose_2) can be a sub-pixel convolution or a convolution for each "
        "phase, exactly: compress takes what it measures faster",
    )
