"""The parts of a variational autoencoder among the outputs of a model or a loop, by name.

| part | names |
|---|---|
| mean of the latents | `mean`, `mu`, `z_mean`, `latent_mean` |
| log of their variance | `logvar`, `log_var`, `log_variance`, `z_logvar`, `z_log_var` |
| reconstruction | `reconstruction`, `recon`, `reconstructed`, `x_hat`, `x_recon`, `decoded` |
| what is reconstructed | an output `target`, else labels of its size, else the input of its shape |

A torch module names its outputs by returning a dict.
"""

from collections.abc import Mapping

import numpy as np

from calibration.batch import Batch
from compressor.errors import UsageError
from compressor.evaluation.metrics.base import TARGET, FloatArray
from compressor.evaluation.metrics.residual import nearest_input
from compressor.evaluation.outputs import describe
from compressor.graph.tensors import Array

MEAN = ("mean", "mu", "z_mean", "latent_mean")
LOGVAR = ("logvar", "log_var", "log_variance", "z_logvar", "z_log_var")
RECONSTRUCTION = ("reconstruction", "recon", "reconstructed", "x_hat", "x_recon", "decoded")


def squared_error(outputs: Mapping[str, Array], step: Batch, metric: str) -> FloatArray:
    """Σ (t - x)² of target and reconstruction, and the number of values, of every sample: (b, 2).

    Raises:
        UsageError: One of both is missing.
    """
    name = _named(outputs, RECONSTRUCTION, "the reconstruction", metric)
    own = outputs[name]
    target = _target(outputs, step, own)
    if target is None:
        raise UsageError(
            f"metric {metric}: nothing tells what {name!r} of {list(own.shape)} reconstructs: no "
            "output is called target, and neither labels nor an input have its size",
            hint='Return it beside the reconstruction, as {"reconstruction": ..., "target": ...}.',
        )
    apart = _flat(target, len(step)) - _flat(own, len(step))
    errors = np.einsum("ij,ij->i", apart, apart)
    return np.stack([errors, np.full(len(errors), float(apart.shape[1]))], axis=1)


def prior_divergence(outputs: Mapping[str, Array], step: Batch, metric: str) -> FloatArray:
    """KL(N(mean, variance) || N(0, 1)) = ½ Σ (mean² + variance - 1 - log variance), in nats, (b,).

    Kingma and Welling 2014, appendix B.

    Raises:
        UsageError: Mean or logarithm of the variance is missing, or their sizes differ.
    """
    names = [
        _named(outputs, MEAN, "the mean of the latents", metric),
        _named(outputs, LOGVAR, "the logarithm of their variance", metric),
    ]
    mean, logvar = (_flat(outputs[name], len(step)) for name in names)
    if mean.shape != logvar.shape:
        raise UsageError(
            f"metric {metric}: expected {names[0]!r} and {names[1]!r} of one shape, found "
            f"{describe({name: outputs[name] for name in names})}",
            hint="Return both for every latent.",
        )
    with np.errstate(over="ignore"):
        return np.asarray(0.5 * (mean**2 + np.exp(logvar) - 1 - logvar).sum(axis=1))


def _named(outputs: Mapping[str, Array], names: tuple[str, ...], what: str, metric: str) -> str:
    found = next((name for name in outputs if name.lower() in names), None)
    if found is None:
        raise UsageError(
            f"metric {metric}: no output is {what}, by name one of {', '.join(names)}; found "
            f"{describe(outputs)}",
            hint=f'Name it so: return {{"{names[0]}": ...}} from forward or from the loop.',
        )
    return found


def _target(outputs: Mapping[str, Array], step: Batch, own: Array) -> Array | None:
    called = outputs.get(TARGET)
    if called is not None and called.size == own.size:
        return called
    labels = step.labels
    if labels is not None and labels.dtype.kind in "iuf" and labels.size == own.size:
        return labels
    return nearest_input(step.inputs, own)


def _flat(array: Array, samples: int) -> FloatArray:
    return array.reshape(samples, -1).astype(np.float64)
