"""What lies behind a branch that calibration never entered keeps float."""

import numpy as np
import pytest
from graphs import model

from calibration.dataset import open_dataset
from compressor.graph.names import make_unique
from compressor.graph.shapes import infer_shapes, input_specs
from compressor.quantization.branches import unseen_branches
from compressor.quantization.static import CalibrationOptions, calibrate
from exporters.ort.target import TARGET

RNG = np.random.default_rng(0)
X = RNG.standard_normal((16, 256)).astype(np.float32)


def branching(inner: str):
    made = model(
        f"""g (float[n,256] x, bool flag, float[256,256] w0, float[256,256] w1, float[256,256] w2)
            => (float[n,256] y)
        <float[n,256] a, float[n,256] b>
        {{
            a = MatMul(x, w0)
            b = If (flag) <
                then_branch = t () => (float[n,256] tz) {{ tz = Relu(a) }},
                else_branch = e () => (float[n,256] ez) {{ {inner} }}>
            y = MatMul(b, w2)
        }}""",
        w0=[256, 256], w1=[256, 256], w2=[256, 256],
    )  # fmt: skip
    make_unique(made)
    return infer_shapes(made)


def looping():
    made = model(
        """g (float[n,256] x, int64 times, float[256,256] w0, float[256,256] w2) => (float[n,256] y)
        <float[n,256] a, float[n,256] b, bool go>
        {
            go = Constant <value = bool {1}> ()
            a = MatMul(x, w0)
            b = Loop (times, go, a) <
                body = l (int64 i, bool c, float[n,256] s) => (bool k, float[n,256] sz) {
                    k = Identity(c) sz = Add(s, s)
                }>
            y = MatMul(b, w2)
        }""",
        w0=[256, 256], w2=[256, 256],
    )  # fmt: skip
    make_unique(made)
    return infer_shapes(made)


def chosen(made, **inputs):
    data = open_dataset(inputs).bind(input_specs(made))
    policy = TARGET.policy("vnni")
    found = calibrate(made, data, policy, CalibrationOptions("minmax"))
    return found, [node.name for node in made.graph if node.op_type == "MatMul"]


@pytest.mark.parametrize("flag", [True, False])
def test_behind_a_branch_that_was_never_entered_all_stays_float(flag):
    found, (before, behind) = chosen(branching("ez = MatMul(a, w1)"), x=X, flag=np.array(flag))
    assert before in found.integer and behind not in found.integer
    name = "else_branch" if flag else "then_branch"
    assert name in found.float_reasons[behind]
    (notice,) = [one for one in found.record.notices if "never enters" in one]
    assert f"the {name} of If" in notice


def test_branches_that_were_both_entered_change_nothing():
    made = branching("ez = MatMul(a, w1)")
    calls = [{"x": X[:4], "flag": np.array(one)} for one in (True, False)]
    found, (before, behind) = chosen_of_calls(made, calls)
    assert {before, behind} <= set(found.integer)


def chosen_of_calls(made, calls):
    data = open_dataset(lambda: iter(calls)).bind(input_specs(made))
    found = calibrate(made, data, TARGET.policy("vnni"), CalibrationOptions("minmax"))
    return found, [node.name for node in made.graph if node.op_type == "MatMul"]


def test_a_branch_that_moves_values_changes_no_range():
    made = branching("ez = Identity(a)")
    data = open_dataset({"x": X, "flag": np.array(True)}).bind(input_specs(made))
    assert not unseen_branches(made, data, 8).reasons


@pytest.mark.parametrize("times", [0, 2])
def test_a_loop_that_ran_no_times_was_not_seen(times):
    found, (before, behind) = chosen(looping(), x=X, times=np.array(times))
    assert before in found.integer
    assert (behind in found.integer) == (times > 0)
