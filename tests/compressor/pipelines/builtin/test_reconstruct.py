"""Autoencoders: the noise is drawn outside, and by the seed."""

import numpy as np
import pytest

from compressor.errors import DataError, UsageError
from compressor.graph.tensors import TensorSpec
from compressor.pipelines.builtin import find
from compressor.pipelines.calls import GraphCall, Signature

FLOAT = np.dtype(np.float32)
DATA = np.random.default_rng(0).random((10, 8)).astype(np.float32)
LOG_VARIANCE = -1.5


def graphs(outputs, rows="batch"):
    def encode(feeds):
        mean = feeds["x"][:, :4]
        return outputs(mean, np.full_like(mean, LOG_VARIANCE))

    encoder = GraphCall("encoder", (TensorSpec("x", FLOAT, (rows, 8)),), encode)
    decoder = GraphCall(
        "decoder", (TensorSpec("z", FLOAT, (rows, 4)),), lambda feeds: {"image": 3 * feeds["z"]}
    )
    return {"encoder": encoder, "decoder": decoder}


FORMS = {
    "named": lambda mean, logvar: {"logvar": logvar, "mu": mean, "more": mean},
    "deviation": lambda mean, logvar: {"mean": mean, "std": np.exp(logvar / 2)},
    "in order": lambda mean, logvar: {"output": mean, "output_1": logvar},
    "moments": lambda mean, logvar: {"moments": np.concatenate([mean, logvar], 1)},
    "twice as wide": lambda mean, logvar: {"h": np.concatenate([mean, logvar], 1)},
}


@pytest.mark.parametrize("rows", ["batch", 1, 4])
@pytest.mark.parametrize("form", FORMS)
def test_z_is_mean_and_noise(form, rows):
    loop = find("reconstruct")(calibration=DATA)
    found = loop(graphs(FORMS[form], rows), 3, 2)
    x = np.stack([loop.samples.of(seed)["x"] for seed in (3, 4)])
    noise = [np.random.default_rng(seed).standard_normal(4) for seed in (3, 4)]
    z = x[:, :4] + np.exp(LOG_VARIANCE / 2) * np.array(noise)
    np.testing.assert_allclose(found["reconstruction"], 3 * z, rtol=1e-5)
    np.testing.assert_array_equal(found["target"], x)
    np.testing.assert_allclose(found["mean"], x[:, :4])
    np.testing.assert_allclose(found["logvar"], LOG_VARIANCE, rtol=1e-5)


def test_without_noise_z_is_the_mean():
    made = graphs(FORMS["named"])
    found = find("reconstruct")({"noise": "false"}, calibration=DATA)(made, 0, 1)
    np.testing.assert_allclose(found["reconstruction"], 3 * found["mean"], rtol=1e-6)
    found = find("reconstruct")(calibration=DATA)(graphs(lambda mean, logvar: {"z": mean}), 0, 1)
    np.testing.assert_allclose(found["reconstruction"], 3 * found["target"][:, :4], rtol=1e-6)
    assert set(found) == {"reconstruction", "target"}


def test_a_module_becomes_a_graph_while_the_samples_stay():
    made = graphs(FORMS["named"])
    module = GraphCall("encoder", (), made["encoder"]._run, Signature((), (), ("x",), ("x",)))
    loop = find("reconstruct")(calibration=iter([DATA]))
    found = loop({**made, "encoder": module}, 3, 2)
    again = loop(made, 3, 2)
    for name, array in found.items():
        np.testing.assert_allclose(array, again[name], rtol=1e-6)


def test_what_is_missing_is_told():
    with pytest.raises(UsageError, match="needs data"):
        find("reconstruct")()(graphs(FORMS["named"]), 0, 1)
    odd = graphs(lambda mean, logvar: {"a": mean, "b": logvar, "c": mean})
    with pytest.raises(UsageError, match="which of them are mean and log variance"):
        find("reconstruct")(calibration=DATA)(odd, 0, 1)
    with pytest.raises(DataError, match="expected"):
        find("reconstruct")(calibration=DATA[:, :5])(graphs(FORMS["named"]), 0, 1)
