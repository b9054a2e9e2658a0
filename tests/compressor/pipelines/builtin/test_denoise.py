"""Diffusion against what a perfect denoiser of a known image must give."""

from pathlib import Path

import numpy as np
import pytest

from compressor.errors import DataError, UsageError
from compressor.graph.tensors import TensorSpec
from compressor.pipelines.builtin import find
from compressor.pipelines.calls import GraphCall, signature_of
from compressor.pipelines.diffusion.schedules import alphas_cumprod

X0 = np.random.default_rng(5).standard_normal((3, 4, 4)).astype(np.float32)
FLOAT, INT = np.dtype(np.float32), np.dtype(np.int64)


class Perfect:
    """Knows the image: what it predicts of any x_t is right. It keeps what it was fed."""

    def __init__(self, prediction: str = "epsilon", schedule: str = "linear", scale: float = 1.0):
        self.prediction, self.scale = prediction, scale
        self.alphas = alphas_cumprod(schedule, 1000)
        self.fed: list[dict[str, np.ndarray]] = []

    def __call__(self, feeds):
        self.fed.append(dict(feeds))
        x, t = (feeds[name] for name in list(feeds)[:2])
        alpha = self.alphas[np.round(np.asarray(t) / self.scale).astype(int)].reshape(-1, 1, 1, 1)
        noise = (x - np.sqrt(alpha) * X0) / np.sqrt(1 - alpha)
        v = np.sqrt(alpha) * noise - np.sqrt(1 - alpha) * X0
        found = {"epsilon": noise, "sample": np.broadcast_to(X0, x.shape), "v": v}[self.prediction]
        return {"out_sample": found.astype(np.float32)}


def unet(run, *, x="sample", t="timestep", rows="batch", time=("batch",), kind=INT, more=()):
    specs = [TensorSpec(x, FLOAT, (rows, 3, 4, 4)), TensorSpec(t, kind, time), *more]
    return GraphCall("unet", specs, run, signature_of(specs))


def made(run, seed=0, count=2, more=(), graphs=None, data=None, form=None, **options):
    loop = find("denoise")({"steps": 10, **options}, calibration=data)
    return loop({"unet": unet(run, more=more, **(form or {})), **(graphs or {})}, seed, count)


@pytest.mark.parametrize("prediction", ["epsilon", "sample", "v"])
@pytest.mark.parametrize("schedule", ["linear", "cosine", "scaled-linear"])
@pytest.mark.parametrize("sampler", ["ddim", "ddpm"])
def test_a_perfect_denoiser_gives_the_image(prediction, schedule, sampler):
    found = made(
        Perfect(prediction, schedule), prediction=prediction, schedule=schedule, sampler=sampler
    )
    assert found["sample"].dtype == np.float32
    np.testing.assert_allclose(found["sample"], np.stack([X0, X0]), atol=2e-3)


@pytest.mark.parametrize(
    "form",
    [
        {"time": ()},
        {"time": (1,)},
        {"time": (), "kind": np.dtype(np.int32)},
        {"rows": 1, "time": (1,)},
        {"rows": 4, "time": (4,)},
        {"rows": None, "time": (None,)},
        {"x": "x", "t": "t"},
        {"x": "anything", "t": "whatever"},
    ],
)
def test_every_form_of_a_denoiser_is_fed(form):
    run = Perfect()
    np.testing.assert_allclose(made(run, form=form)["sample"], np.stack([X0, X0]), atol=2e-3)
    x, t = run.fed[0].values()
    assert t.dtype == form.get("kind", INT)
    sizes = [2 if isinstance(size, str | None) else size for size in form.get("time", ("b",))]
    assert list(t.shape) == sizes
    assert len(x) == (2 if isinstance(form.get("rows"), str | None) else form["rows"])


def test_a_timestep_can_be_a_number_from_0_to_1():
    run = Perfect(scale=0.001)
    found = made(run, time_scale=0.001, form={"kind": FLOAT})["sample"]
    np.testing.assert_allclose(found, np.stack([X0, X0]), atol=2e-3)
    assert max(one["timestep"].max() for one in run.fed) == pytest.approx(0.9)


def test_units_are_those_of_their_seeds():
    def still(feeds):
        return {"out": feeds["sample"] * 0}

    together = made(still, seed=3, count=3, sampler="ddpm")["sample"]
    alone = [made(still, seed=seed, count=1, sampler="ddpm")["sample"][0] for seed in (3, 4, 5)]
    np.testing.assert_allclose(together, alone, rtol=1e-6)
    assert np.abs(together[0] - together[1]).max() > 0.1


CONTEXT = TensorSpec("encoder_hidden_states", FLOAT, ("batch", 2, 3))


def guided(feeds):
    """ε is the mean of the context: known with, without, and guided."""
    mean = feeds["encoder_hidden_states"].mean((1, 2)).reshape(-1, 1, 1, 1)
    return {"noise_pred": np.broadcast_to(mean, feeds["sample"].shape).astype(np.float32)}


@pytest.mark.parametrize("rows", ["batch", 1, 2])
def test_guidance_goes_beyond_the_context(rows):
    context = np.full((6, 2, 3), 2.0, np.float32)
    form = {"rows": rows}
    more = (TensorSpec("encoder_hidden_states", FLOAT, (rows, 2, 3)),)
    strong = made(guided, data=context, more=more, guidance=3.0, form=form)["sample"]
    direct = made(guided, data=3 * context, more=more, form=form)["sample"]
    np.testing.assert_allclose(strong, direct, atol=1e-4)


def test_the_context_that_says_nothing_can_be_given(tmp_path: Path):
    np.save(tmp_path / "none.npy", np.full((2, 3), 1.0, np.float32))
    context = np.full((6, 2, 3), 2.0, np.float32)
    given = made(
        guided, data=context, more=(CONTEXT,), guidance=3.0, unconditional=tmp_path / "none.npy"
    )
    direct = made(guided, data=2 * context, more=(CONTEXT,))  # 1 + 3 · (2 - 1) = 4
    np.testing.assert_allclose(given["sample"], direct["sample"], atol=1e-4)
    np.save(tmp_path / "none.npy", np.ones(5))
    with pytest.raises(DataError, match=r"has shape \[5\]"):
        made(guided, data=context, more=(CONTEXT,), guidance=3, unconditional=tmp_path / "none.npy")


def test_classes_are_drawn_and_the_number_after_the_last_says_nothing():
    fed = []

    def run(feeds):
        fed.append(feeds["class_labels"])
        return {"out": feeds["sample"] * 0}

    labels = TensorSpec("class_labels", INT, ("batch",))
    made(run, more=(labels,), classes=4, guidance=2.0, count=3)
    nothing, classes = np.split(fed[0], 2)
    assert (nothing == 4).all()
    assert (classes < 4).all()
    with pytest.raises(UsageError, match="nothing says what it is given"):
        made(run, more=(labels,))


def test_what_is_learned_of_the_variance_is_left():
    run = Perfect()

    def both(feeds):
        found = run(feeds)["out_sample"]
        return {"out": np.concatenate([found, np.full_like(found, 9)], 1)}

    np.testing.assert_allclose(made(both)["sample"], np.stack([X0, X0]), atol=2e-3)


@pytest.mark.parametrize("rows", ["batch", 1])
def test_a_decoder_comes_at_the_end(rows):
    latent = TensorSpec("latent_sample", FLOAT, (rows, 3, 4, 4))
    vae = GraphCall("vae", (latent,), lambda feeds: {"sample": feeds["latent_sample"] + 1})
    found = made(Perfect(), graphs={"vae": vae}, latent_scale=0.5)
    np.testing.assert_allclose(found["sample"], np.stack([X0, X0]) / 0.5 + 1, atol=4e-3)


def test_what_does_not_fit_is_told():
    with pytest.raises(UsageError, match="10 timesteps, and 20 steps"):
        made(Perfect(), steps=20, timesteps=10)
    with pytest.raises(UsageError, match="takes none"):
        made(Perfect(), guidance=2)
    with pytest.raises(UsageError, match=r"returns \[2, 1\] for a sample of \[2, 3, 4, 4\]"):
        made(lambda feeds: {"out": np.zeros((len(feeds["sample"]), 1))})
    with pytest.raises(UsageError, match=r"asked for"):
        made(Perfect(), shape="3,8,8")
    with pytest.raises(UsageError, match="does not know what graph 'unet' takes as 'text'"):
        made(Perfect(), more=(TensorSpec("text", FLOAT, ("batch", 7)), CONTEXT))
    with pytest.raises(UsageError, match="none is called out_sample or"):
        made(lambda feeds: {"a": feeds["sample"], "b": feeds["sample"]})


def test_the_shape_can_be_said_where_nothing_tells():
    graph = GraphCall("unet", (), Perfect(), signature_of(()))
    loop = find("denoise")({"steps": 5, "shape": "3,4,4"})
    found = loop({"unet": graph}, 0, 2)["sample"]
    np.testing.assert_allclose(found, np.stack([X0, X0]), atol=2e-3)
    with pytest.raises(UsageError, match="is not known: nothing tells it before capture"):
        find("denoise")({"steps": 5})({"unet": graph}, 0, 2)
