"""Which output decides, and by which metric: by default a ruined result is told from a good one."""

import numpy as np
import onnx_ir as ir
import pytest

from calibration.dataset import open_dataset
from compressor.errors import DataError, UsageError
from compressor.evaluation.metrics import find_metric
from compressor.evaluation.metrics.base import BASELINE, RESULT
from compressor.evaluation.per_output import output_results
from compressor.evaluation.roles import Roles, roles_of
from compressor.evaluation.ruin import why_ruined
from compressor.evaluation.yardstick import Yardstick, choose
from compressor.graph.tensors import TensorSpec
from compressor.search.measure import told

N = 40
RNG = np.random.default_rng(0)


class Table:
    """A model that looks its answers up; what belongs to no sample is a function of the batch."""

    def __init__(self, **outputs):
        self.table = outputs
        self.inputs = (TensorSpec("i", np.dtype(np.int64), ("n",)),)
        self.outputs = tuple(self._spec(name, array) for name, array in outputs.items())

    def _spec(self, name, array):
        found = array(np.arange(1)) if callable(array) else array
        dims = found.shape[1:]
        return TensorSpec(name, found.dtype, ("k" if callable(array) else "n", *dims))

    def run(self, feeds):
        index = feeds["i"].reshape(-1)
        return {n: a(index) if callable(a) else a[index] for n, a in self.table.items()}


def data(labels=None, n=N, **inputs):
    arrays = {"i": np.arange(n), **inputs}
    return open_dataset(arrays if labels is None else {**arrays, "label": labels})


def chosen(
    table, labels=None, roles=None, batch=8, metric=None, output=None, **inputs
) -> Yardstick:
    asked = None if metric is None else find_metric(metric)
    given = data(labels, **inputs)
    return choose(table, given, batch, roles=roles or Roles(), metric=asked, output=output)


def names(yardstick: Yardstick) -> list[str]:
    return [metric.name for metric in yardstick.metrics]


def judged(before: Table, after: Table, batch=8, roles=None, labels=None, **inputs):
    """The deciding figure and every output's, and why the result is ruined."""
    yardstick = chosen(before, labels, roles, batch, **inputs)
    runners, samples = {BASELINE: before, RESULT: after}, data(labels, **inputs)
    scored = [(m, yardstick.scores(m, runners, samples, batch)) for m in yardstick.metrics]
    quality = told(scored, yardstick, "test data", 0)
    outputs = output_results(runners, samples, batch, yardstick)
    return quality, outputs, why_ruined(quality, outputs)


def normal(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


# Which metric


@pytest.mark.parametrize(
    ("name", "shape", "labels", "expected"),
    [
        ("y", (10,), RNG.integers(10, size=N), ["accuracy"]),
        ("y", (10, 1, 1), RNG.integers(10, size=N), ["accuracy"]),
        ("y", (10,), RNG.integers(20, size=N), ["cosine"]),
        ("y", (64,), None, ["cosine"]),
        ("logits", (64,), None, ["cosine", "agreement"]),
        ("class_probs", (12,), None, ["cosine", "agreement"]),
        ("logits", (7, 64), None, ["cosine", "agreement"]),
        ("logits", (7, 64), RNG.integers(64, size=(N, 7)), ["perplexity", "agreement"]),
        ("logits", (1, 64), RNG.integers(64, size=(N, 1)), ["perplexity", "agreement"]),
        ("y", (10, 4), RNG.integers(10, size=N), ["cosine"]),
        ("y", (1,), None, ["r2"]),
        ("y", (3,), None, ["r2"]),
        ("y", (1,), normal(N), ["r2"]),
    ],
)
def test_what_fits_outputs_and_labels(name, shape, labels, expected):
    assert names(chosen(Table(**{name: normal(N, *shape)}), labels)) == expected


def test_a_softmax_makes_scores_of_classes_whatever_the_name():
    table = Table(y=normal(N, 64))
    assert names(chosen(table, roles=Roles(ends={"y": "softmax"}))) == ["cosine", "agreement"]


def test_outputs_that_hardly_vary_are_held_against_their_spread():
    landmarks = 0.5 + 0.01 * normal(N, 136)
    assert names(chosen(Table(y=landmarks))) == ["r2"]


@pytest.mark.parametrize("offset", [0.0, 0.5, 0.9, 1.1, 1.5, 3.0])
def test_an_answer_that_never_changes_is_ruined_whatever_the_metric(offset):
    values = offset + normal(N, 64)
    never = np.broadcast_to(values.mean(0), values.shape).astype(np.float32)
    assert judged(Table(y=values), Table(y=values + 0.01 * normal(N, 64)))[2] is None
    assert judged(Table(y=values), Table(y=never))[2] is not None


@pytest.mark.parametrize("noise", [0.1, 0.5, 1.0, 2.0])
def test_what_hands_its_input_back_is_ruined_whatever_the_metric(noise):
    image, change = normal(N, 3, 8, 8), noise * normal(N, 3, 8, 8)
    before, roles = Table(y=image - change), Roles(added={"y": "image"})
    why = judged(before, Table(y=image), roles=roles, image=image)[2]
    assert why is not None


def test_a_denoiser_is_judged_by_what_it_changes():
    image = normal(N, 3, 8, 8)
    noise = 0.2 * normal(N, 3, 8, 8)
    before, roles = Table(y=image - noise), Roles(added={"y": "image"})
    good, ruined = Table(y=image - 1.05 * noise), Table(y=image + 0 * noise)
    quality, outputs, why = judged(before, good, roles=roles, image=image)
    assert (quality[0].metric, quality[0].baseline) == ("residual", 1)
    assert quality[0].result == pytest.approx(1 - 0.05**2, abs=1e-4)
    assert outputs[0].value == pytest.approx(quality[0].result)
    assert why is None
    quality, outputs, why = judged(before, ruined, roles=roles, image=image)
    assert quality[0].result == pytest.approx(0, abs=1e-6)
    assert outputs[0].departs
    assert why is not None
    assert names(chosen(before, image=image)) == ["residual"], "whatever the graph ends in"
    blurred = Table(y=image - 1.66 * noise)
    assert judged(before, blurred, image=image)[2] is not None
    assert names(chosen(Table(y=np.tanh(image) + 3), image=image)) == ["r2"], "it is far from it"
    bright = 3 + normal(N, 3, 8, 8)
    assert names(chosen(Table(y=bright), image=3 + image)) == ["r2"], "alike by their mean alone"
    assert names(chosen(before, roles=roles, image=noise)) == ["cosine"], (
        "the input is little of it"
    )
    with pytest.raises(UsageError, match="no floating input has the shape of output 'y'"):
        chosen(Table(y=normal(N, 9)), metric="residual", image=image)


def test_what_a_graph_ends_in_adding_to_is_told():
    text = """
    <ir_version: 8, opset_import: ["" : 17]>
    net (float[b,8] x, float[8] w) => (float[b,8] y, float[b,8] z, float[b,8] u) {
        n = Tanh (x)
        s = Sub (x, n)
        y = Clip (s)
        z = Add (n, w)
        u = Add (n, s)
    }
    """
    assert roles_of(ir.from_onnx_text(text)).added["y"] == "x"
    assert "u" not in roles_of(ir.from_onnx_text(text)).added


EMBEDDINGS = {
    "LpNormalization": ("y = LpNormalization (p)", True),
    "scaled": ("n = ReduceL2 (p, a)  c = Clip (n)  y = Div (p, c)", True),
    "written out": (
        "q = Mul (p, p)  s = ReduceSum (q, a)  r = Sqrt (s)  e = Max (z, r)  y = Div (p, e)",
        True,
    ),
    "by a reciprocal": ("n = ReduceL2 (p, a)  r = Reciprocal (n)  y = Mul (p, r)", True),
    "mean": ("t = Unsqueeze (p, a)  y = ReduceMean <keepdims = 0> (t, a)", True),
    "mean of those that count": (
        "t = Mul (p, m)  s = ReduceSum (t, a)  c = ReduceSum (m, a)  y = Div (s, c)",
        True,
    ),
    "softmax": ("x1 = Exp (p)  s = ReduceSum (x1, a)  y = Div (x1, s)", False),
    "a layer": ("y = MatMul (p, w)", False),
    "a factor": ("y = Mul (p, z)", False),
}


@pytest.mark.parametrize("kind", EMBEDDINGS)
def test_embeddings_are_what_a_graph_pools_or_scales_to_a_length(kind):
    body, is_one = EMBEDDINGS[kind]
    text = f"""
    <ir_version: 8, opset_import: ["" : 18]>
    net (float[b,16] p, float[b,16] m, float[16,16] w, float z, int64[1] a) => (float[b,16] y) {{
        {body}
    }}
    """
    assert ("y" in roles_of(ir.from_onnx_text(text)).embeddings) == is_one


def test_embeddings_have_neighbours_beside_their_cosine():
    table, roles = Table(y=normal(N, 16)), Roles(embeddings=frozenset({"y"}))
    assert names(chosen(table, roles=roles)) == ["cosine", "neighbours"]
    assert names(chosen(table)) == ["cosine"]
    assert names(
        chosen(Table(logits=normal(N, 16)), roles=Roles(embeddings=frozenset({"logits"})))
    ) == ["cosine", "agreement"]


@pytest.mark.parametrize("value", [0.0, 0.02])
def test_an_answer_that_never_changes_is_told(value):
    (notice,) = chosen(Table(y=np.full((N, 1), value, np.float32))).notices
    assert "is the same for all samples" in notice


def test_decisions_are_compared_by_agreement():
    table = Table(mask=RNG.integers(5, size=(N, 6, 6)), count=RNG.integers(5, size=N))
    found = chosen(table)
    assert (names(found), found.primary) == (["agreement"], "mask")


def test_rows_that_depend_on_data_fit_no_metric():
    table = Table(indices=lambda i: np.zeros((3 + i[0] % 4, 3), np.int64))
    found = chosen(table, batch=1)
    assert found.metrics == ()
    assert found.reason is not None
    assert "'indices'" in found.reason
    assert "depends on the data" in found.reason
    with pytest.raises(UsageError, match="metric cosine fits no output"):
        chosen(table, batch=1, metric="cosine")


# Which output


def test_the_answer_decides_and_not_what_passes_through():
    table = Table(present=normal(N, 2, 9, 4), logits=normal(N, 64))
    assert chosen(table).primary == "logits"
    assert chosen(table, output="present").primary == "present"
    with pytest.raises(UsageError, match="no such output"):
        chosen(table, output="presents")
    states = Roles(states={"state_out": "state"})
    assert chosen(Table(state_out=normal(N, 8), y=normal(N, 9)), roles=states).primary == "y"


DECODER = """
<ir_version: 8, opset_import: ["" : 17]>
decoder (float[b,s,8] x, float[b,t,8] past_key, float[b,4] state, float[b,4] h0)
    => (float[b,u,8] y, float[b,v,8] kept, float[b,4] stateN, float[b,4] mean, float[b,w,8] z) {
    kept = Concat <axis = 1> (past_key, x)
    y = Tanh (x)
    stateN = Relu (state)
    mean = Sigmoid (h0)
    z = Softmax (x)
}
"""


def test_states_are_told_by_what_they_carry_on_and_by_name():
    roles = roles_of(ir.from_onnx_text(DECODER))
    assert roles.states == {"kept": "past_key", "stateN": "state"}
    assert roles.ends == {"mean": "sigmoid", "z": "softmax"}


@pytest.mark.parametrize(
    ("before", "after", "is_state"),
    [
        ("past_key_values.0.key", "present.0.key", True),
        ("cache_in", "cache_out", True),
        ("h0", "hn", True),
        ("prev_hidden", "next_hidden", True),
        ("sample", "out_sample", False),
        ("encoder_hidden_states", "last_hidden_state", False),
        ("image", "mask", False),
    ],
)
def test_names_before_and_after(before, after, is_state):
    text = """
    <ir_version: 8, opset_import: ["" : 17]>
    net (float[b,8] one, float[b,8] other) => (float[b,8] two, float[b,8] answer) {
        two = Tanh (one)
        answer = Relu (other)
    }
    """
    model = ir.from_onnx_text(text)
    model.graph.inputs[0].name, model.graph.outputs[0].name = before, after
    assert (after in roles_of(model).states) == is_state


def test_what_would_leave_no_answer_is_no_state():
    text = """
    <ir_version: 8, opset_import: ["" : 17]>
    net (float[b,8] state) => (float[b,16] state_out) {
        state_out = Concat <axis = 1> (state, state)
    }
    """
    assert roles_of(ir.from_onnx_text(text)).states == {}


# Good and ruined results


def quantized(array, share):
    """With an error of so much of its spread."""
    return (array + share * array.std() * normal(*array.shape)).astype(np.float32)


@pytest.mark.parametrize(
    ("metric", "before"),
    [
        ("r2", Table(y=np.abs(normal(N, 1)) + 5)),
        ("r2", Table(probability=1 / (1 + np.exp(-5 * normal(N, 1))))),
        ("cosine", Table(image=np.tanh(normal(N, 3, 8, 8)))),
        ("cosine", Table(present=np.ones((N, 2, 512, 8), np.float32), logits=normal(N, 1, 64))),
    ],
    ids=["regressor", "wake word", "generator", "decoder"],
)
def test_a_ruined_result_is_told_from_a_good_one(metric, before):
    def result(share):
        name = next(n for n in before.table if n != "present")
        return Table(**{**before.table, name: quantized(before.table[name], share)})

    quality, outputs, ruined = judged(before, result(0.02))
    assert quality[0].metric == metric
    assert quality[0].result == pytest.approx(1, abs=2e-3)
    assert ruined is None
    assert [one.departs for one in outputs] == [False] * len(outputs)
    quality, outputs, ruined = judged(before, result(2.0))
    assert quality[0].result < 0.6
    assert ruined is not None
    assert ruined.startswith(f"{metric} is ")
    assert [one.departs for one in outputs] == [one.role == "primary" for one in outputs]


def boxes_and_scores(shift, fade, n=N):
    low = RNG.uniform(0, 80, (n, 12, 2)) + shift
    boxes = np.concatenate([low, low + 15], axis=2).astype(np.float32)
    scores = (RNG.uniform(0.1, 1, (n, 12, 3)) * fade).astype(np.float32)
    return boxes, scores


def detectors():
    boxes, scores = boxes_and_scores(20, 1)
    anchors = np.concatenate([boxes[..., :2] + 7.5, np.full_like(boxes[..., 2:], 15)], axis=2)
    dense = np.concatenate([anchors, scores], axis=2).repeat(3, axis=1).transpose(0, 2, 1)
    best = np.concatenate([boxes, scores[..., :1], np.ones((N, 12, 1))], axis=2).astype(np.float32)
    numbered = np.concatenate([np.arange(N).repeat(12)[:, None], best.reshape(-1, 6)], axis=1)

    def rows(index):
        found = numbered.reshape(N, 12, 7)[index].copy()
        found[..., 0] = np.arange(len(index))[:, None]
        return found.reshape(-1, 7)[: -1 - len(index)].astype(np.float32)

    return {
        "two outputs": Table(boxes=boxes, scores=scores),
        "two outputs, classes first": Table(pred_boxes=boxes, conf=scores.transpose(0, 2, 1)),
        "dense": Table(output0=dense.astype(np.float32)),
        "end to end": Table(output0=best),
        "rows by sample": Table(output=rows),
    }


def moved(array, by):
    """Boxes elsewhere in every layout: they hold what is larger than 9."""

    def change(found):
        return np.where((found > 9) & (found.shape[-1] != 3), found + by, found).astype(np.float32)

    return (lambda index: change(array(index))) if callable(array) else change(array)


@pytest.mark.parametrize("kind", list(detectors()))
def test_detectors_are_judged_by_what_they_detect(kind):
    before = detectors()[kind]
    quality, _, ruined = judged(before, before)
    assert quality[0].metric == "detection"
    assert quality[0].result == pytest.approx(100)
    near = Table(**{name: moved(array, 0.5) for name, array in before.table.items()})
    quality, _, ruined = judged(before, near)
    assert quality[0].result > 95
    assert ruined is None
    far = Table(**{name: moved(array, 40.0) for name, array in before.table.items()})
    quality, _, ruined = judged(before, far)
    assert quality[0].result < 50
    assert ruined is not None


def test_another_metric_of_boxes_comes_with_a_warning():
    boxes, scores = boxes_and_scores(0, 1)
    found = chosen(Table(boxes=boxes, scores=scores), metric="cosine")
    assert "--metric detection" in found.notices[0]
    assert chosen(Table(y=normal(N, 64)), metric="cosine").notices == ()


def test_detections_without_names_are_told_by_shape_and_values():
    boxes, scores = boxes_and_scores(20, 1)
    table = Table(output=boxes, output_1=scores)
    (notice,) = chosen(table).notices
    assert "--metric detection" in notice and 'return {"boxes": …, "scores": …}' in notice
    asked = chosen(table, metric="detection")
    samples = data()

    def detected(after):
        runners = {BASELINE: table, RESULT: after}
        found = asked.scores(asked.metrics[0], runners, samples, 8)
        return float(asked.metrics[0].aggregate(found.units[RESULT]))

    assert detected(table) == pytest.approx(100)
    assert detected(Table(output=moved(boxes, 0.5), output_1=scores * 1.001)) > 95
    assert detected(Table(output=moved(boxes, 40.0), output_1=scores)) < 50


def test_what_may_be_logits_of_boxes_is_to_be_named():
    boxes, scores = boxes_and_scores(20, 1)
    table = Table(output=boxes, output_1=8 * scores - 4)
    (notice,) = chosen(table).notices
    assert "if they are, names let them be matched" in notice
    with pytest.raises(UsageError, match="expected boxes with scores") as error:
        chosen(table, metric="detection")
    assert "return a dict" in error.value.hint
    hidden = Table(hidden_states=normal(N, 12, 4), attention=normal(N, 12))
    assert chosen(hidden).notices == ()


def test_scores_without_positives_are_not_judged_by_their_noise():
    quiet = (0.001 + 0.0004 * RNG.random((N, 1))).astype(np.float32)
    roles = Roles(ends={"score": "sigmoid"})
    found = chosen(Table(score=quiet), roles=roles)
    assert names(found) == ["mse"]
    assert "give samples of what it detects" in found.notices[0]
    noisy = Table(score=quiet[::-1].copy())
    quality, outputs, ruined = judged(Table(score=quiet), noisy, roles=roles)
    assert ruined is None
    assert outputs[0].metric == "mse" and outputs[0].value == pytest.approx(quality[0].result)
    heard = np.concatenate([quiet[:-2], np.full((2, 1), 0.9, np.float32)])
    found = chosen(Table(score=heard), np.zeros(N, np.int64), roles=roles)
    assert names(found) == ["r2"]
    assert any("all labels are 0" in notice for notice in found.notices)


def test_one_sample_with_as_many_rows_as_boxes():
    boxes, scores = boxes_and_scores(0, 1)

    def of(array, scale=1.0):
        return lambda i: (array[i[0], : 1 + i[0] % 5] * scale).astype(np.float32)

    before = Table(boxes=of(boxes), scores=of(scores[..., 0]), labels=of(scores[..., 0] > 2))
    quality, outputs, _ = judged(before, before, batch=1)
    assert (quality[0].metric, quality[0].result) == ("detection", pytest.approx(100))
    assert all(one.value is None and one.reason for one in outputs)
    faded = Table(boxes=of(boxes), scores=of(scores[..., 0], 0.1), labels=before.table["labels"])
    assert judged(before, faded, batch=1)[0][0].result < 50


def test_lengths_that_differ_count_against_the_result():
    waves = normal(N, 1, 60)

    def of(length):
        return lambda i: waves[i][:, :, : length(i[0])]

    before, shorter = Table(wave=of(lambda i: 40)), Table(wave=of(lambda i: 36 + i % 5))
    quality, _, ruined = judged(before, shorter, batch=1)
    assert 0.9 < quality[0].result < 1
    assert ruined is None
    silent = Table(wave=of(lambda i: 0))
    assert judged(before, silent, batch=1)[2] is not None


def test_noise_of_the_models_own_is_told():
    found = chosen(Table(wave=lambda i: normal(len(i), 1, 60)))
    assert found.seen["wave"].noisy
    assert "the model draws random numbers: 'wave'" in found.notices[0]
    assert not chosen(Table(wave=normal(N, 60))).seen["wave"].noisy


def test_every_output_has_its_own_figure():
    before = Table(logits=normal(N, 64), value=normal(N, 1), mask=RNG.integers(2, size=(N, 5)))
    after = Table(**{**before.table, "value": -before.table["value"]})
    quality, outputs, ruined = judged(before, after)
    assert [(q.metric, q.output, q.result) for q in quality] == [
        ("cosine", "logits", pytest.approx(1)),
        ("agreement", "logits", 100),
    ]
    assert [(one.name, one.role, one.metric) for one in outputs] == [
        ("logits", "primary", "cosine"),
        ("value", "output", "r2"),
        ("mask", "output", "agreement"),
    ]
    assert [one.value for one in outputs] == [pytest.approx(1), pytest.approx(-3, abs=0.3), 100]
    assert ruined is not None
    assert "'value'" in ruined


# What labels say


def test_labels_that_are_the_input_are_shifted_by_one():
    tokens = RNG.integers(16, size=(N, 6))
    sure = 20 * np.eye(16, dtype=np.float32)[np.roll(tokens, -1, axis=1)]
    quality, _, _ = judged(Table(logits=sure), Table(logits=sure), labels=tokens, ids=tokens)
    assert quality[0].metric == "perplexity"
    assert quality[0].result == pytest.approx(1, abs=1e-3)


def test_targets_of_regressors():
    targets = normal(N)
    table = Table(y=targets[:, None] + 0.1)
    quality, _, _ = judged(table, table, labels=targets)
    assert (quality[0].metric, quality[0].reference) == ("r2", "labels")
    assert quality[0].baseline == pytest.approx(1 - 0.01 / targets.var(), rel=1e-4)


def test_floating_labels_that_fit_no_regressor_are_refused_before_any_work():
    with pytest.raises(DataError, match="expected targets of the shape") as refused:
        chosen(Table(y=normal(N, 5)), RNG.integers(5, size=N).astype(np.float32))
    assert "astype(np.int64)" in (refused.value.hint or "")
    with pytest.raises(DataError) as refused:
        chosen(Table(y=normal(N, 5)), normal(N))
    assert "--output-metric" in (refused.value.hint or "")


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (RNG.integers(10, size=N).astype(np.float32), "class numbers are integers"),
        (RNG.integers(2, size=(N, 10)), "which r2, nrmse, mse and psnr take"),
        (RNG.integers(2, size=(N, 7)), "neither class numbers nor targets"),
        (RNG.integers(10, size=N), None),
    ],
)
def test_labels_that_judge_nothing_are_told(labels, said):
    notices = chosen(Table(y=normal(N, 10)), labels).notices
    assert [said in notice for notice in notices] == ([True] if said else [])


@pytest.mark.parametrize("beyond", [-1, 10])
def test_class_numbers_beyond_the_classes_are_told(beyond):
    labels = np.append(RNG.integers(10, size=N - 1), beyond)
    (notice,) = chosen(Table(y=normal(N, 10)), labels[::-1].copy()).notices
    assert "labels are not used" in notice
    assert "10 classes" in notice
    assert str(beyond) in notice


def test_r2_does_not_depend_on_how_much_is_held(monkeypatch):
    y = normal(N, 300)
    after = quantized(y, 0.3)

    def result():
        found = chosen(Table(y=y), metric="r2")
        runners = {BASELINE: Table(y=y), RESULT: Table(y=after)}
        return found.scores(found.metrics[0], runners, data(), 7)

    held = result()
    monkeypatch.setattr("compressor.evaluation.spread.HELD", 1000)
    for name, units in result().units.items():
        np.testing.assert_allclose(units, held.units[name], rtol=1e-9)
    expected = 1 - np.square(after - y).sum() / np.square(y - y.mean(axis=0)).sum()
    assert find_metric("r2").aggregate(held.units[RESULT]) == pytest.approx(expected, rel=1e-5)
    root = find_metric("nrmse").aggregate(held.units[RESULT])
    assert root == pytest.approx(np.sqrt(1 - expected), rel=1e-4)
