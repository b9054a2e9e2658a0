"""Live modules and TorchScript: what is captured computes what the module computes."""

import copy
import dataclasses
import io
import logging
import re
import warnings
from typing import NamedTuple

import numpy as np
import onnx_ir as ir
import pytest

from compressor.capture import Captured, capture
from compressor.capture.peculiar import module_not_finite
from compressor.checkpoint import source_of
from compressor.errors import CaptureError
from compressor.graph.session import open_session
from compressor.graph.shapes import input_specs, output_specs
from compressor.recipe.notation import parse_input

torch = pytest.importorskip("torch")
nn = torch.nn
OPSET = 21


def _capture(module, *, declared=None, examples=None, opset=OPSET) -> Captured:
    inputs = None if declared is None else [parse_input(text) for text in declared]
    return capture(source_of(module), inputs=inputs, examples=examples, opset=opset)


def _images(n=4):
    return np.random.default_rng(0).standard_normal((n, 3, 8, 8), np.float32)


def _operators(captured):
    return [node.op_type for node in captured.model.graph]


def _tried(captured):
    return [(d.subject, d.verdict) for d in captured.record.decisions]


class Convolutional(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.bn = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(4, 5)

    def forward(self, x):
        return self.head(self.drop(self.bn(self.conv(x)).relu()).mean((2, 3)))


@pytest.fixture(scope="module")
def module():
    torch.manual_seed(0)
    module = Convolutional()
    module.bn.running_mean.normal_()
    module.train()
    module.drop.eval()
    module.config = type("Config", (), {"use_cache": True})()
    return module


@pytest.fixture(scope="module")
def state(module):
    """The module's state before anything is captured."""
    return {name: value.clone() for name, value in module.state_dict().items()}


@pytest.fixture(scope="module")
def captured(module, state):
    return _capture(module, examples={"image": _images(8)})


def _scripted(module):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return torch.jit.script(module)


def test_dynamic_batch_names_and_parity(module, captured):
    assert [str(s) for s in input_specs(captured.model)] == ["image:float32[batch,3,8,8]"]
    assert [str(s) for s in output_specs(captured.model)] == ["output:float32[batch,5]"]
    assert [p.batch for p in captured.parity] == [2, 1]
    assert all(0 <= p.max_absolute <= p.tolerance < 0.1 for p in captured.parity)
    assert not [notice for notice in captured.record.notices if "pictures" not in notice]
    assert _tried(captured) == [("torch.export-based exporter, dynamic batch", "ok")]
    with torch.no_grad():
        expected = copy.deepcopy(module).eval()(torch.from_numpy(_images(7))).numpy()
    (found,) = open_session(captured.model).run(None, {"image": _images(7)})
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_batch_norm_stays_unfolded_and_weights_keep_their_names(captured):
    assert "BatchNormalization" in _operators(captured)
    assert {"conv.weight", "bn.running_mean", "head.bias"} <= set(captured.model.graph.initializers)


def test_weights_need_no_torch_and_nothing_of_the_machine_is_kept(captured):
    for value in captured.model.graph.initializers.values():
        assert type(value.const_value) is ir.Tensor
        assert isinstance(value.const_value.raw, np.ndarray)
    serialized = ir.to_proto(captured.model).SerializeToString()
    assert __file__.encode() not in serialized
    assert b"stack_trace" not in serialized


def test_two_captures_are_equal(module, captured):
    again = _capture(module, examples={"image": _images(8)})
    one, other = (ir.to_proto(c.model).SerializeToString() for c in (captured, again))
    assert one == other


def test_a_live_module_is_given_back_as_it_was(module, state, captured):
    assert module.training
    assert not module.drop.training
    assert module.bn.training
    assert module.config.use_cache is True
    assert state.keys() == module.state_dict().keys()
    assert all(torch.equal(value, state[name]) for name, value in module.state_dict().items())


def test_cache_is_turned_off_while_capturing():
    class Cached(nn.Module):
        def __init__(self):
            super().__init__()
            self.config = type("Config", (), {"use_cache": True})()

        def forward(self, x):
            return {"logits": x * 2, "past": x + 1 if self.config.use_cache else None}

    captured = _capture(Cached(), examples={"x": _images()})
    assert [s.name for s in output_specs(captured.model)] == ["logits"]


def test_experts_are_computed_as_an_exporter_can():
    """A mixture of transformers groups them by an operator of its own, unless asked not to."""

    class Experts(nn.Module):
        def __init__(self):
            super().__init__()
            self.config = type("Config", (), {"_experts_implementation": "grouped_mm"})()

        def forward(self, x):
            grouped = self.config._experts_implementation == "grouped_mm"
            return torch.special.airy_ai(x) * 0 + x if grouped else x * 1

    module = Experts()
    captured = _capture(module, examples={"x": _images()})
    assert _tried(captured) == [("torch.export-based exporter, dynamic batch", "ok")]
    assert module.config._experts_implementation == "grouped_mm"


def test_one_sample_is_repeated_so_that_the_batch_is_never_traced_at_one():
    captured = _capture(_scripted(Convolutional()), examples={"image": _images(1)})
    assert input_specs(captured.model)[0].shape[0] == "batch"
    assert [p.batch for p in captured.parity] == [2, 1]


class Pair(NamedTuple):
    low: torch.Tensor
    high: torch.Tensor


@dataclasses.dataclass
class Result:
    logits: torch.Tensor
    states: tuple
    loss: torch.Tensor | None = None


class Nested(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(11, 4)

    def forward(self, ids, *, mask, scale=None):
        hidden = self.embed(ids) * mask.unsqueeze(-1)
        pair = Pair(hidden - 1, hidden + 1)
        return Result(hidden.sum(-1), (hidden, {"pair": pair, "count": 3}, [ids, None]))


def test_several_inputs_integers_keyword_only_and_nested_outputs():
    rng = np.random.default_rng(0)
    # The data's order is not forward's, and its ids must not be taken for the mask.
    examples = {
        "mask": rng.integers(0, 2, (4, 6)).astype(np.float32),
        "ids": rng.integers(0, 11, (4, 6)),
    }
    captured = _capture(Nested(), examples=examples)
    assert [str(s) for s in input_specs(captured.model)] == [
        "ids:int64[batch,sequence]",
        "mask:float32[batch,sequence]",
    ]
    assert [s.name for s in output_specs(captured.model)] == [
        "logits",
        "states_0",
        "states_1_pair_low",
        "states_1_pair_high",
        "states_2_0",
    ]
    assert captured.record.notices == (
        "output 'states.1.count' is no tensor but of type int: left out",
    )
    exact = [p for p in captured.parity if p.output == "states_2_0"]
    assert {(p.max_absolute, p.tolerance) for p in exact} == {(0, 0)}


def test_symbols_of_declared_inputs_are_dynamic_and_equal_names_equal():
    captured = _capture(
        Nested(), declared=["ids:int64[n,length]", "mask:float32[n,length]"], examples=None
    )
    assert [str(s) for s in input_specs(captured.model)] == [
        "ids:int64[n,length]",
        "mask:float32[n,length]",
    ]
    assert any("seeded random" in notice for notice in captured.record.notices)
    session = open_session(captured.model)
    feeds = {"ids": np.ones((3, 5), np.int64), "mask": np.ones((3, 5), np.float32)}
    assert session.run(["logits"], feeds)[0].shape == (3, 5)


def test_declared_names_make_dimensions_of_samples_dynamic():
    rng = np.random.default_rng(0)
    examples = {"ids": rng.integers(0, 11, (4, 6)), "mask": np.ones((4, 6), np.float32)}
    captured = _capture(
        Nested(), declared=["ids:int64[batch,length]", "mask:float32[batch,length]"],
        examples=examples,
    )  # fmt: skip
    assert input_specs(captured.model)[0].shape == ("batch", "length")
    assert captured.record.parameters["samples"] == "real"


class OnlyTorchScript(nn.Module):
    """A branch on data fails in torch.export, and is baked in by tracing."""

    def __init__(self):
        super().__init__()
        self.body = Convolutional()

    def forward(self, x, unused=None):
        if x.abs().sum() >= 0:
            return self.body(x)
        return x


def test_falls_back_to_the_torchscript_exporter_and_says_so():
    captured = _capture(OnlyTorchScript(), examples={"x": _images()})
    assert _tried(captured) == [
        ("torch.export-based exporter, dynamic batch", "failed"),
        ("TorchScript-based exporter, dynamic batch", "ok"),
    ]
    assert all("\n" not in d.reason for d in captured.record.decisions)
    assert "BatchNormalization" in _operators(captured)
    assert "body.conv.weight" in captured.model.graph.initializers
    assert input_specs(captured.model)[0].shape[0] == "batch"
    assert captured.model.opset_imports[""] == OPSET


def test_what_takes_one_sample_alone_is_captured_at_one():
    class First(nn.Module):
        def forward(self, tokens):
            return (2 * tokens[0].float()).reshape(tokens.shape)

    tokens = np.random.default_rng(0).integers(0, 9, (6, 12))
    captured = _capture(First(), examples={"tokens": tokens})
    (spec,) = input_specs(captured.model)
    assert (spec.shape[0], isinstance(spec.shape[1], str)) == (1, True), "the length stays open"
    assert any(
        "baked in at 1 (the module is made for no other)" in n for n in captured.record.notices
    )
    feeds = {"tokens": np.arange(5)[None]}
    assert open_session(captured.model).run(None, feeds)[0].tolist() == [[0, 2, 4, 6, 8]]


def test_what_squeezes_its_one_sample_away_is_captured_at_one():
    class Frames(nn.Module):
        def forward(self, frames):
            return torch.relu(frames.squeeze(0))[None]

    frames = np.random.default_rng(0).normal(size=(6, 12, 3)).astype(np.float32)
    captured = _capture(Frames(), examples={"frames": frames})
    (spec,), (out,) = input_specs(captured.model), output_specs(captured.model)
    assert spec.shape[0] == 1 and len(out.shape) == 3, "declared as it comes"
    assert any("baked in at 1" in n for n in captured.record.notices)


def test_a_squeezing_head_keeps_its_batch():
    class Head(nn.Module):
        def forward(self, x):
            return x.mean((2, 3), keepdim=True).squeeze()

    captured = _capture(Head(), examples={"x": _images()})
    assert input_specs(captured.model)[0].shape[0] == "batch"


def test_inputs_that_nothing_reads_stay_inputs():
    examples = {"x": _images(), "unused": np.ones((4, 2), np.float32)}
    captured = _capture(OnlyTorchScript(), examples=examples)
    assert captured.record.parameters["exporter"] == "TorchScript-based exporter"
    assert [str(s) for s in input_specs(captured.model)] == [
        "x:float32[batch,3,8,8]",
        "unused:float32[batch,unused_dim1]",
    ]


class Baked(nn.Module):
    def forward(self, x):
        n = int(x.shape[0])
        return x.reshape(n, -1).sum(1)


def test_a_batch_that_is_lost_is_refused_with_what_to_give():
    with pytest.raises(CaptureError, match="axis 0 of 'x' at 2") as error:
        _capture(Baked(), examples={"x": _images()})
    assert "--input 'x:float32[2,3,8,8]'" in str(error.value)
    given = ["x:float32[2,3,8,8]"]
    captured = _capture(Baked(), examples={"x": _images()}, declared=given)
    assert "batch is baked in at 2 (as --input says)" in captured.record.notices[0]


class Steps(nn.Module):
    """A loop over time, which tracing unrolls at the length that it sees."""

    def forward(self, x):
        h = x[:, 0]
        for step in range(x.shape[1]):
            h = torch.tanh(x[:, step] + h)
        return h


def test_a_length_that_is_lost_is_refused_with_what_to_give():
    data = {"x": np.random.default_rng(0).standard_normal((4, 5, 3)).astype(np.float32)}
    with pytest.raises(CaptureError, match="axis 1 of 'x' at 5") as error:
        _capture(Steps(), examples=data, declared=["x:float32[batch,n,3]"])
    assert "--input 'x:float32[batch,5,3]'" in str(error.value)


class AttentionOverCache(nn.Module):
    """Attention over a cache and what comes behind it, under a mask over both."""

    def forward(self, ids, mask, k):
        x = torch.nn.functional.one_hot(ids, 4).float()[:, None]
        keys = torch.cat([k, x], 2)
        scores = x @ keys.transpose(-1, -2) + (mask[:, None, None].float() - 1) * 1e4
        return scores.softmax(-1) @ keys, keys


@pytest.mark.parametrize("past", [0])
def test_lengths_of_the_data_stay_open_and_a_mask_is_their_sum(past):
    rng = np.random.default_rng(0)
    data = {
        "ids": rng.integers(0, 4, (4, 3)),
        "mask": np.ones((4, 3 + past), np.int64),
        "k": rng.standard_normal((4, 1, past, 4)).astype(np.float32),
    }
    captured = _capture(AttentionOverCache(), examples=data)
    ids, mask, k = input_specs(captured.model)
    assert str(ids) == "ids:int64[batch,sequence]"
    past = k.shape[2]
    assert str(k) == f"k:float32[batch,1,{past},4]"
    assert set(mask.shape[1].split("+")) == {"sequence", past}
    session = open_session(captured.model)
    for batch, length, before in ((1, 1, 7), (3, 6, 0), (2, 1, 1), (1, 9, 2)):
        feeds = {
            "ids": rng.integers(0, 4, (batch, length)),
            "mask": np.ones((batch, length + before), np.int64),
            "k": rng.standard_normal((batch, 1, before, 4)).astype(np.float32),
        }
        expected = AttentionOverCache()(*(torch.from_numpy(array) for array in feeds.values()))
        for found, wanted in zip(session.run(None, feeds), expected, strict=True):
            np.testing.assert_allclose(found, wanted.numpy(), atol=1e-5)


@pytest.mark.parametrize(("varied", "wanted"), [((), {8}), (("x",), {"x_dim2", "x_dim3"})])
def test_sizes_of_pictures_are_open_where_the_data_has_several(varied, wanted):
    module = nn.Conv2d(3, 4, 3, padding=1)
    captured = capture(
        source_of(module.eval()),
        inputs=None,
        examples={"x": _images()},
        varied=frozenset(varied),
        opset=OPSET,
    )
    assert set(input_specs(captured.model)[0].shape[2:]) == wanted
    if varied:
        x = np.ones((3, 3, 5, 12), np.float32)
        (found,) = open_session(captured.model).run(None, {"x": x})
        expected = module(torch.from_numpy(x)).detach().numpy()
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_declared_batch_size_is_baked_in():
    captured = _capture(
        _scripted(Convolutional()), declared=["x:float32[1,3,8,8]"], examples={"image": _images()}
    )
    assert [str(s) for s in input_specs(captured.model)] == ["image:float32[1,3,8,8]"]
    assert "as --input says" in captured.record.notices[0]


def test_clashing_names_are_made_unique():
    class Clashing(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(5, 3)

        def forward(self, relu) -> dict[str, torch.Tensor]:
            embedding = self.embedding(relu.long())
            return {"relu": relu, "embedding": embedding.relu(), "again": embedding.relu()}

    captured = _capture(_scripted(Clashing()), examples={"relu": np.ones((4, 2), np.float32)})
    assert [s.name for s in input_specs(captured.model)] == ["relu"]
    assert [s.name for s in output_specs(captured.model)] == ["relu_out", "embedding", "again"]
    open_session(captured.model)


def test_samples_take_the_precision_of_the_module():
    captured = _capture(_scripted(nn.Linear(3, 2).half()), examples={"x": np.ones((8, 3), "f4")})
    assert [str(s) for s in input_specs(captured.model)] == ["x:float16[batch,3]"]
    assert captured.parity[0].tolerance > 1e-3


class _Between(nn.Module):
    """A part in bfloat16 between parts in float32."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 8), nn.Linear(8, 2).to(torch.bfloat16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(torch.relu(self.first(x)).to(torch.bfloat16)).float()


@pytest.mark.parametrize("kind", ["whole", "mixed", "declared"])
def test_a_module_in_bfloat16_computes_in_float32(kind):
    module = _Between() if kind == "mixed" else nn.Linear(3, 2).to(torch.bfloat16)
    x = np.random.default_rng(0).standard_normal((8, 3)).astype(np.float32)
    how = {"examples": {"x": x}} if kind != "declared" else {"declared": ["x:float32[batch,3]"]}
    captured = _capture(module.eval(), **how)
    assert [str(s) for s in input_specs(captured.model)] == ["x:float32[batch,3]"]
    assert [str(spec) for spec in captured.inputs.specs] == ["x:float32[batch,3]"]
    assert captured.model.graph.outputs[0].dtype == ir.DataType.FLOAT
    assert any("bfloat16" in notice for notice in captured.record.notices)
    given = torch.from_numpy(x) if kind == "mixed" else torch.from_numpy(x).to(torch.bfloat16)
    with torch.no_grad():
        expected = module(given).float().numpy()
    found = open_session(captured.model).run(None, {"x": x})[0]
    np.testing.assert_allclose(found, expected, atol=0.03)


def test_a_failing_module_is_blamed_on_its_own_line():
    class Failing(nn.Module):
        def forward(self, x):
            return x.reshape(7, 11)

    where = r"Failing on the inputs x:float32\[2,3,8,8\] fails: .*test_modules\.py:\d+"
    with pytest.raises(CaptureError, match=where):
        _capture(Failing(), examples={"x": _images()})


def test_a_module_that_fails_on_bytes_gets_the_flags_that_convert_them():
    with pytest.raises(CaptureError) as info:
        _capture(Convolutional(), examples={"x": np.ones((4, 8, 8, 3), np.uint8)})
    assert "--scale 1/255" in info.value.hint
    assert "--layout" in info.value.hint
    with pytest.raises(CaptureError) as info:
        _capture(Convolutional(), declared=["x:float32[batch,1,8,8]"])
    assert "--input" in info.value.hint


def test_buffers_that_forward_changes_are_put_back():
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("calls", torch.zeros(1))
            self.register_buffer("mean", torch.zeros(3))

        def forward(self, x):
            self.calls += 1
            self.mean = x.mean((0, 2, 3))
            return x * 2

    module = Counting()
    calls, mean = module.calls, module.mean
    _capture(module, examples={"x": _images()})
    assert module.calls is calls
    assert module.mean is mean
    assert (calls.item(), mean.abs().sum().item()) == (0, 0)


def test_arrays_that_no_input_asks_for_are_left_out_with_a_notice():
    examples = {"x": np.ones((4, 3), np.float32), "index": np.arange(4)}

    class Plain(nn.Module):
        def forward(self, x):
            return x * 2

    captured = _capture(Plain(), examples=examples)
    assert [s.name for s in input_specs(captured.model)] == ["x"]
    assert captured.record.notices == ("no input asks for these arrays of the data: index",)


@pytest.mark.parametrize("result", [None, 3, {"a": None, "b": [1]}])
def test_a_module_without_tensors_is_refused(result):
    class Empty(nn.Module):
        def forward(self, x):
            return result

    with pytest.raises(CaptureError, match="should return tensors"):
        _capture(Empty(), examples={"x": _images()})


def test_unknown_inputs_are_asked_for():
    with pytest.raises(CaptureError, match="not known") as info:
        _capture(Convolutional())
    assert "--input" in info.value.hint


def test_what_no_exporter_captures_lists_every_attempt_with_its_error():
    class ThroughNumpy(nn.Module):
        def forward(self, x):  # opaque to torch.export, a constant to tracing
            return x + torch.from_numpy(np.sort(x.numpy()[0]))

    with pytest.raises(CaptureError) as info:
        _capture(ThroughNumpy(), examples={"x": _images()})
    lines = info.value.message.splitlines()[1:]
    assert [line.split(":")[0].strip() for line in lines] == [
        "torch.export-based exporter, dynamic batch",
        "TorchScript-based exporter, dynamic batch",
        "torch.export-based exporter, every size baked in",
        "TorchScript-based exporter, every size baked in",
    ]
    for line in lines[1::2]:
        assert re.search(r"output 'output' at batch 2: maximum error \S+ .*tolerance \S+", line)


def test_a_graph_that_is_wrong_at_another_batch_is_not_taken():
    class Sized(nn.Module):
        def forward(self, x):
            return x * 2 if x.shape[0] == 1 else x * 3

    with pytest.raises(CaptureError, match="output 'output' at batch 1: maximum error"):
        _capture(Sized(), examples={"x": _images()})


def test_meta_modules_are_refused():
    with torch.device("meta"):
        module = nn.Linear(3, 2)
    with pytest.raises(CaptureError, match="meta device"):
        _capture(module, examples={"x": np.ones((4, 3), np.float32)})


def test_exporters_keep_quiet(capfd, caplog):
    with warnings.catch_warnings(), caplog.at_level(logging.DEBUG, "compressor.capture"):
        warnings.simplefilter("error")
        _capture(OnlyTorchScript(), examples={"x": _images()})
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")
    assert {r.levelno for r in caplog.records} == {logging.DEBUG}
    assert any("Warning" in r.getMessage() for r in caplog.records)


class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.bn = nn.BatchNorm2d(4)

    def forward(self, x, extra: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
        y = self.bn(self.conv(x))
        if x.sum() > 0:
            y = y + 1
        if extra is not None:
            y = y * extra
        return {"y": y, "mean": y.mean([1, 2, 3])}


@pytest.mark.parametrize("frozen", [False, True])
def test_torchscript_keeps_its_control_flow(frozen):
    scripted = _scripted(Convolutional() if frozen else Branching()).eval()
    archive = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.freeze(scripted) if frozen else scripted, archive)
        archive.seek(0)
        loaded = torch.jit.load(archive)
    captured = _capture(loaded, examples={"x": _images()})
    assert _tried(captured) == [("TorchScript-based exporter, dynamic batch", "ok")]
    specs = output_specs(captured.model)
    assert [(s.name, s.shape[0]) for s in specs] == (
        [("output", "batch")] if frozen else [("y", "batch"), ("mean", "batch")]
    )
    assert ("If" in _operators(captured)) != frozen


class _Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.head = nn.LSTM(4, 8, batch_first=True), nn.Linear(8, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.lstm(x)[0])


def test_outputs_are_declared_with_the_lengths_that_were_verified():
    captured = _capture(_Recurrent().eval(), examples={"x": np.ones((8, 12, 4), np.float32)})
    (given,), (found,) = input_specs(captured.model), output_specs(captured.model)
    assert found.shape == (*given.shape[:2], 2)
    assert isinstance(found.shape[1], str)


def test_sizes_of_pictures_that_are_fixed_are_named_with_what_opens_them():
    captured = _capture(nn.Conv2d(3, 4, 3).eval(), examples={"x": _images()})
    (said,) = [notice for notice in captured.record.notices if "pictures" in notice]
    assert "'x' has axis 2 at 8, axis 3 at 8. --input 'x:float32[batch,3,h,w]'" in said
    asked = _capture(
        nn.Conv2d(3, 4, 3).eval(), declared=["x:float32[batch,3,h,w]"], examples={"x": _images()}
    )
    assert not [notice for notice in asked.record.notices if "pictures" in notice]


def test_weights_that_are_nan_are_named_before_anything_is_computed():
    module = torch.nn.Linear(3, 2)
    assert not list(module_not_finite(module))
    with torch.no_grad():
        module.weight[0, :2] = float("nan")
    (notice,) = module_not_finite(module)
    assert "'weight' holds 2 NaN" in notice
