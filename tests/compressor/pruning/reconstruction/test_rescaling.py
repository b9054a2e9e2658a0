"""Norms that stay: factors and shifts are found again, kept where they help, and put back."""

import numpy as np
import onnx_ir as ir
import pytest
from graphs import model

from calibration.dataset import open_dataset
from compressor.graph.session import open_session
from compressor.pruning import cut, find_groups
from compressor.pruning.reconstruction.affine import affines_of
from compressor.pruning.reconstruction.patching import patch_of, patched
from compressor.pruning.reconstruction.repair import Repair, repair
from compressor.pruning.unfolding import homes_of

EXACT = 1e-3
"""The ridge, relative to the variance, is what is left of a factor's error."""


def images(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def outputs(made: ir.Model, **feeds: np.ndarray) -> np.ndarray:
    return open_session(made, threads=1).run(None, feeds)[0]


BATCH_NORM = """g (float[n,4,6,6] x, float[4,4,1,1] w, float[4] s, float[4] t, float[4] m,
                   float[4] v) => (float[n,4,6,6] y)
    { h = Conv(x, w)\n k = BatchNormalization(h, s, t, m, v)\n y = Relu(k) }"""
INSTANCE_NORM = """g (float[n,4,6,6] x, float[4,4,1,1] w, float[4] s, float[4] t)
    => (float[n,4,6,6] y) { h = Conv(x, w)\n k = InstanceNormalization(h, s, t)\n y = Relu(k) }"""
LAYER_NORM = """g (float[n,6,4] x, float[4,4] w, float[4] s, float[4] t)
    => (float[n,6,4] y) { h = MatMul(x, w)\n k = LayerNormalization(h, s, t)\n y = Relu(k) }"""
WITHOUT_SHIFT = """g (float[n,6,4] x, float[4,4] w, float[4] s)
    => (float[n,6,4] y) { h = MatMul(x, w)\n k = LayerNormalization(h, s)\n y = Relu(k) }"""
GROUP_NORM = """g (float[n,4,6,6] x, float[4,4,1,1] w, float[4,1,1] s, float[4,1,1] t)
    => (float[n,4,6,6] y)
    <float[2] ones = {1, 1}, float[2] zeros = {0, 0}, int64[3] rows = {0, 2, -1},
     int64[4] back = {0, 4, 6, 6}>
    { h = Conv(x, w)
      r = Reshape(h, rows)
      q = InstanceNormalization(r, ones, zeros)
      u = Reshape(q, back)
      p = Mul(u, s)
      k = Add(p, t)
      y = Relu(k) }"""
RMS_NORM = """g (float[n,6,4] x, float[4,4] w, float[4] s) => (float[n,6,4] y)
    <int64[1] last = {-1}, float little = {1e-5}>
    { h = MatMul(x, w)
      q = Mul(h, h)
      a = ReduceMean(q, last)
      e = Add(a, little)
      r = Sqrt(e)
      i = Reciprocal(r)
      z = Mul(h, i)
      k = Mul(s, z)
      y = Relu(k) }"""

NORMS = {
    "BatchNormalization": BATCH_NORM,
    "InstanceNormalization": INSTANCE_NORM,
    "LayerNormalization": LAYER_NORM,
    "LayerNormalization without shift": WITHOUT_SHIFT,
    "GroupNorm taken apart": GROUP_NORM,
    "RMSNorm taken apart": RMS_NORM,
}


def norm(text: str) -> ir.Model:
    """With factors away from zero and a positive variance."""
    wide = [4, 4, 1, 1] if "Conv" in text else [4, 4]
    column = [4, 1, 1] if "[4,1,1] s" in text else [4]
    made = model(text, w=wide, s=column, t=column, m=[4], v=[4])
    for name, least in (("s", 0.7), ("v", 0.5)):
        if name in made.graph.initializers:
            value = made.graph.initializers[name]
            value.const_value = ir.tensor(np.abs(array_of(value)) + np.float32(least), name=name)
    return made


def array_of(value: ir.Value) -> np.ndarray:
    assert value.const_value is not None
    return value.const_value.numpy()


def changed(made: ir.Model, **terms: float) -> ir.Model:
    """A copy whose vectors of those names are multiplied."""
    copy = made.clone()
    for name, factor in terms.items():
        value = copy.graph.initializers.get(name)
        if value is not None:
            value.const_value = ir.tensor(array_of(value) * np.float32(factor), name=name)
    return copy


@pytest.mark.parametrize("kind", NORMS)
def test_factors_and_shifts_are_found_again(kind: str):
    original = norm(NORMS[kind])
    damaged = changed(original, s=0.6, t=-2.0)
    x = images(32, 4, 6, 6) if "Conv" in NORMS[kind] else images(32, 6, 4)
    found, record = repair(
        original, damaged, find_groups(original, {"x": x[:2]}), {}, open_dataset({"x": x})
    )
    (name,) = affines_of(original)
    report = record.parameters["layers"][name]
    assert report["verdict"] == "repaired"
    assert report["error_before"] > 0.05
    assert report["error_after"] < 1e-4
    fresh = images(*x.shape, seed=7)
    expected = outputs(original, x=fresh)
    assert np.abs(outputs(damaged, x=fresh) - expected).max() > 0.1
    scale = np.abs(expected).max()
    np.testing.assert_allclose(outputs(found, x=fresh), expected, atol=5 * EXACT * scale)


def pair(factor: str) -> ir.Model:
    """A BatchNorm of the input times one of two other inputs."""
    return model(
        f"""g (float[n,4] x, float[n,1] f, float[n,1] one, float[4] s, float[4] t, float[4] m,
               float[4] v) => (float[n,4] y)
        {{ h = Mul(x, {factor})
           k = BatchNormalization(h, s, t, m, v)
           y = Relu(k) }}""",
        s=[4], t=[4], m=[4],
    )  # fmt: skip


def test_what_does_not_help_on_held_out_samples_is_left_alone():
    """The batches that are solved on ask for thrice the factor, those that judge hardly more."""
    original, other = pair("f"), pair("one")
    for made in (original, other):
        value = next(v for v in made.graph.inputs if v.name == "v")
        made.graph.inputs.remove(value)
        value.const_value = ir.tensor(np.ones(4, np.float32), name="v")
        made.graph.register_initializer(value)
    batches = np.where(np.arange(32) // 4 % 4 == 3, 1.1, 3.0).astype(np.float32)
    feeds = {"x": images(32, 4), "f": batches[:, None], "one": np.ones((32, 1), np.float32)}
    head = {name: array[:2] for name, array in feeds.items()}
    found, record = repair(
        original, other, find_groups(original, head), {}, open_dataset(feeds), Repair(batch=4)
    )
    (report,) = record.parameters["layers"].values()
    assert report["verdict"] == "left alone"
    assert report["error_after"] > report["error_before"] > 0
    np.testing.assert_array_equal(outputs(found, **feeds), outputs(other, **feeds))


def preactivation() -> ir.Model:
    """Two BatchNorms that share their factors, in front of convolutions."""
    text = """g (float[n,3,6,6] x, float[8,3,3,3] a, float[8] s, float[8] t, float[8] m,
                  float[8] v, float[12,8,3,3] b, float[8,12,3,3] c, float[5,8] d) => (float[n,5] y)
        { h = Conv<pads=[1,1,1,1]>(x, a)
          k = BatchNormalization(h, s, t, m, v)
          r = Relu(k)
          i = Conv<pads=[1,1,1,1]>(r, b)
          j = Relu(i)
          o = Conv<pads=[1,1,1,1]>(j, c)
          z = Add(o, h)
          q = BatchNormalization(z, s, t, m, v)
          u = Relu(q)
          p = GlobalAveragePool(u)
          f = Flatten(p)
          y = Gemm<transB=1>(f, d) }"""
    made = model(
        text, a=[8, 3, 3, 3], s=[8], t=[8], m=[8], v=[8], b=[12, 8, 3, 3], c=[8, 12, 3, 3], d=[5, 8]
    )
    for name in ("s", "v"):
        value = made.graph.initializers[name]
        value.const_value = ir.tensor(np.abs(array_of(value)) + np.float32(0.5), name=name)
    return made


def test_a_repair_with_norms_is_put_back_byte_for_byte():
    x = images(32, 3, 6, 6)
    made = preactivation()
    damaged = changed(made, t=-2.0)
    grouping = find_groups(made, {"x": x[:2]})
    repaired, record = repair(made, damaged, grouping, {}, open_dataset({"x": x}))
    norms = ("BatchNormalization_1", "BatchNormalization_7")
    assert {record.parameters["layers"][name]["verdict"] for name in norms} == {"repaired"}
    shifts = [repaired.graph.node(name).inputs[2].name for name in norms]
    assert len(set(shifts)) == 2, "what they shared, each fits on its own"
    again = patched(damaged, patch_of(damaged, repaired))
    np.testing.assert_array_equal(outputs(again, x=x), outputs(repaired, x=x))


def test_an_error_that_the_layers_before_a_norm_made_up_for_needs_no_factors():
    x = images(32, 3, 6, 6)
    made = preactivation()
    grouping = find_groups(made, {"x": x[:2]})
    keep = {g.name: np.arange(g.units) % 2 == 0 for g in grouping.groups if g.units == 12}
    smaller = cut(made, grouping, keep)
    repaired, record = repair(made, smaller, grouping, keep, open_dataset({"x": x}))
    reports = record.parameters["layers"]
    assert reports["Conv_5"]["verdict"] == "repaired"
    assert reports["BatchNormalization_1"]["reason"] == "nothing to repair"
    assert reports["BatchNormalization_7"]["verdict"] == "left alone"
    names = {key.rpartition("/")[0] for key in patch_of(smaller, repaired)}
    assert not any(name.startswith("BatchNormalization") for name in names)


def test_terms_that_are_ones_and_zeros_are_an_exporters():
    assert list(affines_of(norm(GROUP_NORM))) == ["Mul_4"]


def test_a_vector_that_multiplies_no_norm_is_left_alone():
    made = model("g (float[n,4] x, float[4] s) => (float[n,4] y) { y = Mul(x, s) }", s=[4])
    assert not affines_of(made)


def test_a_norm_that_stays_is_at_home_in_its_parameters():
    made = norm(LAYER_NORM)
    (name,) = affines_of(made)
    assert homes_of(made, made, {"s", "t", "w"})[name].model_dump(exclude_defaults=True) == {
        "weight": "s",
        "bias": "t",
    }
    assert name not in homes_of(made, made, {"s", "w"}), "a constant of the graph is no parameter"
