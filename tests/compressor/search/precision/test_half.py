"""The float graph in half: what stays float32 is told, with the sample's word for it."""

import numpy as np
import onnx_ir as ir
import pytest
from graphs import model, residual
from seams import TARGET, Clock, Told, images, session_of

from compressor.quantization.remainder import REFERENCE
from compressor.recipe.recipe import Recipe
from compressor.search.baseline import undecided
from compressor.search.candidate import Outcome
from compressor.search.precision.half import UNSEEN, with_half
from exporters.base import Target
from exporters.trt.options import TrtOptions
from exporters.trt.target import TrtTarget

HALF = TrtTarget(TrtOptions(precision="fp16"))


def run(
    made: ir.Model, data: dict[str, np.ndarray], target: Target = HALF, *, seen: bool = True
) -> tuple[Outcome, Outcome, Told]:
    """Before, and after."""
    told = Told()
    session = session_of(made, Recipe(), Clock(), calibration=data, target=target, progress=told)
    start = undecided(session)
    told.stages.clear()
    found = with_half(session, start, session.prepared.calibration if seen else None)
    return start, found, told


def types(made: ir.Model) -> set[ir.DataType | None]:
    return {value.dtype for value in made.graph.initializers.values()}


def test_where_it_fits_all_is_half():
    start, found, told = run(residual(), images(8, 0))
    assert (found.plan.ship, found.plan.half) == ("fp16", ())
    assert types(found.shipped) == {ir.DataType.FLOAT16}
    assert types(found.plain) == {ir.DataType.FLOAT}, "what integers are made of stays float32"
    assert (found.plain, found.graph) == (start.plain, start.graph)
    record = found.records[-1]
    assert (record.name, record.changed) == ("half precision", {"nodes that stay float32": 0})
    assert record.notices == (REFERENCE,)
    assert told.stages == ["check the range of half"]


def loud() -> ir.Model:
    """Squares that are beyond half, and their roots."""
    return model(
        """g (float[n,32] x, float[32,32] w, float[32,8] v) => (float[n,8] y)
        {
            a = MatMul(x, w)
            b = Mul(a, a)
            c = Sqrt(b)
            y = MatMul(c, v)
        }""",
        w=[32, 32], v=[32, 8],
    )  # fmt: skip


def test_what_comes_too_near_to_the_ends_stays_float32():
    x = (1e3 * np.random.default_rng(0).standard_normal((16, 32))).astype(np.float32)
    _, found, _ = run(loud(), {"x": x})
    assert found.plan.ship == "fp16"
    kept = found.plan.half
    assert kept is not None
    assert {"Mul_1", "Sqrt_2"} <= set(kept)
    assert "MatMul_3" not in kept
    record = found.records[-1]
    assert record.changed == {"nodes that stay float32": len(kept)}
    assert [(d.subject, d.verdict) for d in record.decisions] == [(n, "float32") for n in kept]


def test_without_samples_it_is_said_that_nobody_looked():
    _, found, told = run(loud(), {"x": np.ones((2, 32), np.float32)}, seen=False)
    assert (found.plan.ship, found.plan.half) == ("fp16", ())
    assert found.records[-1].notices == (UNSEEN,)
    assert told.stages == []


def test_a_graph_that_cannot_be_half_stays_float32_and_says_why():
    branching = model(
        """g (float[n,4] x, bool c) => (float[n,4] y)
        {
            y = If<then_branch = t () => (float[n,4] p) { p = Relu(x) },
                   else_branch = e () => (float[n,4] q) { q = Neg(x) }>(c)
        }"""
    )
    x = {"x": np.ones((2, 4), np.float32), "c": np.array([True, True])}
    start, found, _ = run(branching, x, seen=False)
    assert (found.plan, found.shipped) == (start.plan, start.shipped)
    (notice,) = found.records[-1].notices
    assert notice.startswith("it stays in float32: If ")


@pytest.mark.parametrize("target", [TARGET, TrtTarget(TrtOptions(precision="int8-fp32"))])
def test_a_target_that_computes_in_float32_changes_nothing(target: Target):
    start, found, told = run(residual(), images(4, 0), target)
    assert found is start
    assert told.stages == []
