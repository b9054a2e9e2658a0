"""Cores of attention, products of sequences and linear Resize in forms of fewer passes."""

import numpy as np
import onnx_ir as ir
import pytest
from exporters_forms import drawn, operators, rewritten
from graphs import model
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.graph.parts import Parts
from compressor.graph.shapes import infer_shapes
from exporters.base import Form
from exporters.ort.forms.attention import Attention, MultiHead
from exporters.ort.forms.linear_resize import LinearResize
from exporters.ort.forms.rows import Rows

HEADS, WIDTH = 2, 4
FORMS = [Attention(), MultiHead()]


def heads(name: str, tokens: int | str) -> str:
    return f"""{name}_s = Constant<value_ints=[0,{tokens},{HEADS},{WIDTH}]>()
            {name}_r = Reshape({name}, {name}_s)
            {name}_h = Transpose<perm=[0,2,1,3]>({name}_r)"""


TURNED = {
    "turned": "k_t = Transpose<perm=[0,1,3,2]>(k_h)",
    "as folding leaves it": "k_t = Transpose<perm=[0,2,3,1]>(k_r)",
    "as torch exports it": f"""s1 = Constant<value_ints=[-1,5,{WIDTH}]>()
            f = Reshape(k_h, s1)
            t = Transpose<perm=[0,2,1]>(f)
            s2 = Constant<value_ints=[-1,{HEADS},{WIDTH},5]>()
            k_t = Reshape(t, s2)""",
}
SCALES = {
    "scores": ("c = Constant<value=float {0.3}>()", "q_h", "k_t", "p = Mul(d, c)"),
    "divided": ("c = Constant<value=float {2.0}>()", "q_h", "k_t", "p = Div(d, c)"),
    "queries": ("c = Constant<value=float {0.3}>()\nqc = Mul(q_h, c)", "qc", "k_t", ""),
    "both": (
        "c = Constant<value=float {0.5}>()\nqc = Mul(q_h, c)\nkc = Mul(k_t, c)", "qc", "kc", "",
    ),
}  # fmt: skip


def core(
    turn: str, scale: tuple[str, ...], mask: str = "", joined: bool = True, queries: str = "3"
) -> ir.Model:
    count = queries if queries.isdecimal() else "-1"
    ahead, q, k, behind = scale
    scores = "p" if behind else "d"
    masked = f"z = Add({scores}, m)" if mask else ""
    out = "y" if joined else "o"
    end = f"""t_o = Transpose<perm=[0,2,1,3]>(o)
            s_o = Constant<value_ints=[0,{count},{HEADS * WIDTH}]>()
            y = Reshape(t_o, s_o)"""
    shape = f"n,{queries},{HEADS * WIDTH}" if joined else f"n,{HEADS},{queries},{WIDTH}"
    return model(
        f"""g (float[n,{queries},{HEADS * WIDTH}] q, float[n,5,{HEADS * WIDTH}] k,
              float[n,5,{HEADS * WIDTH}] v{f", float[{mask}] m" if mask else ""})
            => (float[{shape}] {out})
        {{
            {heads("q", count)}
            {heads("k", 5) if "k_h" in turn else heads("k", 5).rpartition("k_h")[0]}
            {heads("v", 5)}
            {turn}
            {ahead}
            d = MatMul({q}, {k})
            {behind}
            {masked}
            w = Softmax<axis=-1>({"z" if mask else scores})
            o = MatMul(w, v_h)
            {end if joined else ""}
        }}"""
    )


FEEDS = {
    "q": drawn(2, 3, HEADS * WIDTH),
    "k": drawn(2, 5, HEADS * WIDTH, seed=1),
    "v": drawn(2, 5, HEADS * WIDTH, seed=2),
}


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
@pytest.mark.parametrize("turn", TURNED.values(), ids=TURNED.keys())
@pytest.mark.parametrize("scale", SCALES.values(), ids=SCALES.keys())
def test_a_core_is_one_operator_of_rows(form: Form, turn: str, scale: tuple[str, ...]):
    made = rewritten(form, core(turn, scale), FEEDS)
    assert len(made.graph) == 1
    assert made.opset_imports[""] == (23 if form.name == "attention" else 20)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
@pytest.mark.parametrize("mask", [(1, 1, 3, 5), (2, HEADS, 3, 5)])
@pytest.mark.parametrize("joined", [True, False])
def test_a_mask_is_read_and_heads_stay_apart_where_they_are_read(
    form: Form, mask: tuple[int, ...], joined: bool
):
    graph = core(TURNED["turned"], SCALES["scores"], ",".join(map(str, mask)), joined)
    numbers = drawn(*mask, seed=3)
    numbers[..., 1, :] = np.finfo(np.float32).min  # a token that sees nothing
    made = rewritten(form, graph, {**FEEDS, "m": numbers})
    assert len(made.graph) == (2 if joined else 4)
    assert made.graph[0].op_type == "Max"


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_a_mask_of_weights_is_timed_with_its_place(form: Form):
    """Biases by relative position (Swin, MaxViT), a window that each column sees (SVTR)."""
    graph = core(TURNED["turned"], SCALES["scores"], "1,1,3,5")
    mask = next(value for value in graph.graph.inputs if value.name == "m")
    graph.graph.inputs.remove(mask)
    mask.const_value = ir.tensor(drawn(1, 1, 3, 5, seed=3), name="m")
    graph.graph.register_initializer(mask)
    graph = infer_shapes(graph)
    (place,) = form.places(graph)
    part = Parts(graph).between(place.reads, [place.writes])
    assert [value.name for value in part.graph.inputs] == ["q", "k", "v"]
    assert "m" in part.graph.initializers


@pytest.mark.parametrize(
    ("form", "mask"),
    [(form, mask) for form in FORMS for mask in ((2, 1, 1, 5), (1, 1, 1, 5))]
    + [(Attention(), (1, 5))],
)
@pytest.mark.parametrize("queries", ["3", "l"])
@pytest.mark.parametrize("least", [-10.0, np.finfo(np.float32).min])
def test_a_mask_of_one_row_is_that_of_all_queries(
    form: Form, mask: tuple[int, ...], queries: str, least: float
):
    shape = ",".join(map(str, mask))
    graph = core(TURNED["turned"], SCALES["scores"], shape, queries=queries)
    numbers = np.where(drawn(*mask, seed=3) > 0, 0, least).astype(np.float32)
    made = rewritten(form, graph, {**FEEDS, "m": numbers})
    assert "Softmax" not in operators(made)


def hidden(condition: str, put: float, *, elsewhere: bool) -> ir.Model:
    """A decoder's core, whose later tokens are replaced by a number."""
    sides = "d, c" if elsewhere else "c, d"
    return model(
        f"""g (float[n,{HEADS},3,{WIDTH}] q, float[n,{HEADS},l,{WIDTH}] k,
               float[n,{HEADS},l,{WIDTH}] v, bool[{condition}] m) => (float[n,{HEADS},3,{WIDTH}] o)
        {{
            k_t = Transpose<perm=[0,1,3,2]>(k)
            d = MatMul(q, k_t)
            c = Constant<value=float {{{put}}}>()
            z = Where(m, {sides})
            w = Softmax<axis=-1>(z)
            o = MatMul(w, v)
        }}"""
    )


@pytest.mark.parametrize("put", [-1e9, np.finfo(np.float32).min])
@pytest.mark.parametrize("elsewhere", [True, False])
@pytest.mark.parametrize("shape", [(3, 5), (2, 1, 3, 5)])
def test_numbers_put_in_for_what_is_hidden_are_added(
    put: float, elsewhere: bool, shape: tuple[int, ...]
):
    graph = hidden(",".join(map(str, shape)), put, elsewhere=elsewhere)
    feeds = {n: drawn(2, HEADS, 3 if n == "q" else 5, WIDTH, seed=i) for i, n in enumerate("qkv")}
    later = np.broadcast_to(np.arange(5) > np.arange(3)[:, None], shape)
    for mask in (later, np.ones(shape, bool), np.zeros(shape, bool)):
        made = rewritten(Attention(), graph, {**feeds, "m": mask if not elsewhere else ~mask})
        assert operators(made) == ["Where", "Attention"]


def test_a_number_that_hides_nothing_is_left_alone():
    graph = hidden("3,l", -100.0, elsewhere=False)
    assert Attention().places(infer_shapes(graph)) == []


PICKED = {
    "Slice": """zero = Constant<value_ints=[0]>()
            s{i} = Constant<value_ints=[{i}]>()
            e{i} = Constant<value_ints=[{j}]>()
            c{i} = Slice(t, s{i}, e{i}, zero)
            p{i} = Squeeze(c{i}, zero)""",
    "Gather": """g{i} = Constant<value=int64 {{{i}}}>()
            p{i} = Gather<axis=0>(t, g{i})""",
}


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
@pytest.mark.parametrize("pick", PICKED.values(), ids=PICKED.keys())
def test_queries_keys_and_values_in_one_tensor_are_cut_as_rows(form: Form, pick: str):
    length = HEADS * WIDTH
    parts = "\n".join(pick.format(i=i, j=i + 1) for i in range(3))
    parts = parts.replace("zero = ", "unused = ").replace("unused", "zero", 1)
    lines, seen = [], set()
    for line in map(str.strip, parts.splitlines()):
        name = line.split(" = ")[0]
        if name not in seen and name != "unused":
            lines.append(line)
        seen.add(name)
    graph = model(
        f"""g (float[n,5,{3 * length}] x) => (float[n,5,{length}] y)
        {{
            s = Constant<value_ints=[0,5,3,{HEADS},{WIDTH}]>()
            r = Reshape(x, s)
            t = Transpose<perm=[2,0,3,1,4]>(r)
            {chr(10).join(lines)}
            k_t = Transpose<perm=[0,1,3,2]>(p1)
            d = MatMul(p0, k_t)
            w = Softmax<axis=-1>(d)
            o = MatMul(w, p2)
            t_o = Transpose<perm=[0,2,1,3]>(o)
            s_o = Constant<value_ints=[0,5,{length}]>()
            y = Reshape(t_o, s_o)
        }}"""
    )
    made = rewritten(form, graph, {"x": drawn(2, 5, 3 * length)})
    assert operators(made)[:-1] == ["Slice"] * 3


def test_keys_that_are_no_rows_are_read_as_they_are():
    graph = model(
        f"""g (float[n,{HEADS},1,{WIDTH}] q, float[n,{HEADS},l,{WIDTH}] k,
               float[n,{HEADS},l,{WIDTH}] v) => (float[n,{HEADS},1,{WIDTH}] o)
        {{
            k_t = Transpose<perm=[0,1,3,2]>(k)
            d = MatMul(q, k_t)
            w = Softmax<axis=-1>(d)
            o = MatMul(w, v)
        }}"""
    )
    feeds = {n: drawn(1, HEADS, 1 if n == "q" else 7, WIDTH, seed=i) for i, n in enumerate("qkv")}
    assert operators(rewritten(Attention(), graph, feeds)) == ["Attention"]
    assert MultiHead().places(infer_shapes(graph)) == []


OTHERS = {
    "numbers put in behind the softmax": "u = Relu(w)\n o = MatMul(u, v)",
    "weights that others read": "o0 = MatMul(w, v)\n o1 = MatMul(w, k)\n o = Add(o0, o1)",
}


@pytest.mark.parametrize("body", OTHERS.values(), ids=OTHERS.keys())
def test_another_core_is_left_alone(body: str):
    graph = model(
        f"""g (float[n,2,5,4] q, float[n,2,5,4] k, float[n,2,5,4] v) => (float[n,2,5,4] o)
        {{
            k_t = Transpose<perm=[0,1,3,2]>(k)
            d = MatMul(q, k_t)
            w = Softmax<axis=-1>(d)
            {body}
        }}"""
    )
    assert Attention().places(infer_shapes(graph)) == []


def test_the_opset_is_not_raised_where_an_operator_means_something_else_then():
    graph = core(TURNED["turned"], SCALES["scores"])
    assert Attention().places(infer_shapes(graph))
    norm = ir.node("GroupNormalization", [graph.graph.inputs[0]] * 3, {"num_groups": 1})
    graph.graph.append(norm)
    assert Attention().places(graph) == []


@pytest.mark.parametrize("shape", ["n,3,8", "2,s,8", "n,2,3,8"])
def test_a_product_of_sequences_is_one_of_rows(shape: str):
    written = shape.replace(",8", ",6")
    graph = model(
        f"""g (float[{shape}] x, float[8,6] w, float[6] b) => (float[{written}] y)
        {{
            m = MatMul(x, w)
            y = Add(b, m)
        }}""",
        w=[8, 6], b=[6],
    )  # fmt: skip
    sizes = [3 if size == "s" else 2 if size == "n" else int(size) for size in shape.split(",")]
    made = rewritten(Rows(), graph, {"x": drawn(*sizes)})
    assert operators(made) == ["Reshape", "Gemm", "Reshape"]


@pytest.mark.parametrize("shape", ["n,s,8", "n,8"])
def test_a_product_of_open_sequences_is_left_alone(shape: str):
    written = shape.replace(",8", ",6")
    graph = model(
        f"""g (float[{shape}] x, float[8,6] w, float[6] b) => (float[{written}] y)
        {{
            m = MatMul(x, w)
            y = Add(b, m)
        }}""",
        w=[8, 6], b=[6],
    )  # fmt: skip
    assert Rows().places(infer_shapes(graph)) == []


MODES = st.sampled_from(["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"])


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.lists(st.integers(1, 6), min_size=4, max_size=4), MODES, st.booleans())
def test_linear_resize_is_two_products(sizes: list[int], mode: str, by_sizes: bool):
    h, w, height, width = sizes
    batch = "1" if by_sizes else "n"
    target = (
        f"s = Constant<value_ints=[1,2,{height},{width}]>()"
        f'\n y = Resize<mode="linear", coordinate_transformation_mode="{mode}">(x, , , s)'
        if by_sizes
        else f"s = Constant<value_floats=[1.0,1.0,{float(height)},{float(width)}]>()\n"
        f'y = Resize<mode="linear", coordinate_transformation_mode="{mode}">(x, , s)'
    )
    after = (height, width) if by_sizes else (h * height, w * width)
    graph = model(
        f"g (float[{batch},2,{h},{w}] x) => (float[{batch},2,{after[0]},{after[1]}] y)\n"
        f"{{ {target} }}"
    )
    made = rewritten(LinearResize(), graph, {"x": drawn(1, 2, h, w)})
    assert operators(made) == ["MatMul", "MatMul"]


@pytest.mark.parametrize("more", ["antialias=1", 'mode="cubic"'])
def test_another_resize_is_left_alone(more: str):
    mode = "" if "mode" in more else 'mode="linear", '
    graph = model(
        f"""g (float[n,2,4,4] x) => (float[n,2,8,8] y)
        {{
            s = Constant<value_floats=[1.0,1.0,2.0,2.0]>()
            y = Resize<{mode}{more}>(x, , s)
        }}"""
    )
    assert LinearResize().places(infer_shapes(graph)) == []
