"""Parts of variational autoencoders against torch's own divergences and densities."""

import numpy as np
import pytest
import torch
from tables import Table, paired, values
from torch.distributions import Normal, kl_divergence

from compressor.errors import UsageError

RNG = np.random.default_rng(0)
TARGET = RNG.random((6, 1, 4, 4)).astype(np.float32)
MEAN = RNG.standard_normal((6, 3)).astype(np.float32)
LOGVAR = RNG.standard_normal((6, 3)).astype(np.float32)
RECONSTRUCTION = (TARGET + 0.1 * RNG.standard_normal(TARGET.shape)).astype(np.float32)


def parts(**more: np.ndarray) -> Table:
    return Table(**{"mu": MEAN, "log_var": LOGVAR, "x_hat": RECONSTRUCTION, **more})


def test_the_prior_divergence_is_that_of_torch():
    posterior = Normal(
        torch.from_numpy(MEAN).double(), torch.from_numpy(LOGVAR).double().div(2).exp()
    )
    expected = kl_divergence(posterior, Normal(0.0, 1.0)).sum(dim=1).mean()
    assert values("kl_prior", parts(), parts())[1] == pytest.approx(float(expected))


def test_the_reconstruction_error_is_of_target_or_labels():
    expected = np.square(TARGET.astype(float) - RECONSTRUCTION).reshape(6, -1).sum(axis=1).mean()
    beside = parts(target=TARGET)
    assert values("reconstruction", beside, beside)[1] == pytest.approx(expected)
    assert values("reconstruction", parts(), parts(), TARGET)[1] == pytest.approx(expected)


def test_the_bound_is_the_density_less_the_divergence():
    density = Normal(torch.from_numpy(RECONSTRUCTION).double(), 1.0)
    likelihood = density.log_prob(torch.from_numpy(TARGET).double()).sum(dim=(1, 2, 3)).mean()
    beside = parts(target=TARGET)
    expected = float(likelihood) - values("kl_prior", beside, beside)[1]
    assert values("elbo", beside, beside)[1] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("metric", "table", "said"),
    [
        (
            "kl_prior",
            Table(mu=MEAN),
            "no output is the logarithm of their variance, by name one of",
        ),
        ("elbo", Table(y=MEAN), "no output is the reconstruction"),
        ("reconstruction", parts(), "nothing tells what 'x_hat'"),
        ("kl_prior", parts(log_var=LOGVAR[:, :2]), "of one shape"),
    ],
)
def test_what_is_missing_is_told_by_name(metric: str, table: Table, said: str):
    with pytest.raises(UsageError, match=said) as caught:
        paired(metric, table, table)
    assert caught.value.hint
