"""Models that draw: their graphs get what is drawn as inputs, and compute what the source does."""

import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import nn

from compressor.capture import capture
from compressor.capture.noise_inputs import runtime_inverts
from compressor.checkpoint import source_of
from compressor.errors import CaptureError
from compressor.graph.lifting import put_back
from compressor.graph.session import open_session
from compressor.graph.shapes import input_specs

X = np.random.default_rng(0).standard_normal((6, 8)).astype(np.float32)


def captured(model, **kwargs):
    kwargs.setdefault("examples", {"x": X})
    return capture(source_of(model), inputs=None, opset=20, **kwargs)


class Drawing(nn.Module):
    """A layer, and what is drawn by it."""

    def __init__(self, draw):
        super().__init__()
        self.layer = nn.Linear(8, 6)
        self.draw = draw

    def forward(self, x):
        return self.draw(self.layer(x))


DRAWS = {
    "latent": lambda h: h[:, :2] * torch.randn_like(h[:, 2:4]) + torch.randn(h.shape[0], 2),
    "dropout": lambda h: nn.functional.dropout(h, 0.4) * torch.rand(h.shape),
    "classes": lambda h: (
        torch.bernoulli(h.sigmoid()) * torch.randint(2, 5, (h.shape[0], 1)),
        torch.multinomial(h.softmax(-1), 1),
    ),
}


@pytest.mark.parametrize("name", DRAWS)
def test_a_module_that_draws_is_compared_on_the_same_numbers(name):
    module = Drawing(DRAWS[name])
    found = captured(module)
    assert found.noises
    assert len({p.batch for p in found.parity}) > 1
    fed = input_specs(found.model)[: -len(found.noises)]
    assert [str(s) for s in fed] == ["x:float32[batch,8]"] == found.record.parameters["inputs"]
    assert all(noise.spec.shape[0] == "batch" for noise in found.noises)
    back = open_session(put_back(found.model, found.noises))
    one, other = (back.run(None, {"x": X[:5]})[-1] for _ in range(2))
    assert len(one) == 5
    assert not np.array_equal(one, other)


def test_what_torch_does_not_draw_is_refused_as_not_deterministic():
    rng = np.random.default_rng(0)
    module = Drawing(lambda h: h + float(rng.standard_normal()))
    with pytest.raises(CaptureError, match="not deterministic: output 'output'") as info:
        captured(module)
    assert "also where torch draws the same numbers" in info.value.message
    assert "Draw with torch" in info.value.hint


def text(body, *, opset=13, batch="N"):
    return ir.from_onnx_text(
        f'<ir_version: 8, opset_import: ["": {opset}]> '
        f"g (float[{batch},8] x) => (float[{batch},8] y) {{ {body} }}"
    )


def test_a_raised_opset_is_compared_on_the_same_numbers():
    body = "z = RandomNormal<shape = [1, 8], scale = 0.5>() y = Add(x, z)"
    found = captured(text(body, opset=11), least_opset=19)
    assert found.model.opset_imports[""] == 20
    assert [str(n.spec) for n in found.noises] == ["noise:float32[1,8]"]
    assert {p.max_absolute for p in found.parity} == {0.0}
    assert not any("runs only at" in notice for notice in found.record.notices)


def test_a_fixed_shape_that_is_drawn_says_why_the_batch_is_fixed():
    found = captured(text("z = RandomUniform<shape = [4, 8]>() y = Add(x, z)"))
    said = " ".join(found.record.notices)
    assert "runs only at 4: RandomUniform 'RandomUniform' draws the fixed shape [4, 8]" in said


def test_sizes_that_depend_on_data_stay_inside():
    body = """one = Constant<value = float {0.5}>() g = Greater(x, one) i = NonZero(g)
    f = Cast<to = 1>(i) z = RandomNormalLike(f) m = ReduceMean<keepdims = 0>(z) y = Add(x, m)"""
    found = captured(text(body))
    assert found.noises == ()
    assert "its size follows from no size of an input" in " ".join(found.record.notices)


def test_a_dropout_that_the_runtime_leaves_out_is_left_out():
    dropout = "t = Constant<value = bool {1}>() r = Constant<value = float {0.5}>()"
    found = captured(text(f"{dropout} h = Sigmoid(x) d = Dropout(h, r, t) y = Relu(d)"))
    assert found.noises == ()
    assert "left out all the same, as ONNX Runtime does" in " ".join(found.record.notices)
    found = captured(text(f"{dropout} y = Dropout(x, r, t)"))
    assert [noise.operator for noise in found.noises] == ["Dropout"]


def test_bernoulli_is_what_the_runtime_makes_of_it():
    body = "p = Sigmoid(x) y = Bernoulli(p)"
    found = captured(text(body, opset=15), examples={"x": X - 4})
    back = open_session(put_back(found.model, found.noises))
    rare = np.full((2000, 8), -4, np.float32)
    assert (back.run(None, {"x": rare})[0].mean() > 0.5) == runtime_inverts()
    assert "with the probability 1 - p" in " ".join(found.record.notices) or not runtime_inverts()


def test_a_generator_that_takes_nothing_has_what_it_draws_as_its_input():
    found = captured(
        ir.from_onnx_text(
            """<ir_version: 8, opset_import: ["": 17]>
            g () => (float[4,8] y) { z = RandomNormal<shape = [4,8]>() y = Tanh(z) }"""
        ),
        examples=None,
    )
    assert [str(spec) for spec in input_specs(found.model)] == ["noise:float32[4,8]"]
    assert "takes nothing but what it draws" in " ".join(found.record.notices)
    with pytest.raises(CaptureError, match="it is a constant"):
        captured(
            ir.from_onnx_text(
                """<ir_version: 8, opset_import: ["": 17]>
                g () => (float[2] y) { y = Constant<value = float[2] {1, 2}>() }"""
            ),
            examples=None,
        )
