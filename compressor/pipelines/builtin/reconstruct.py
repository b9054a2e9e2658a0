"""Variational autoencoders: an encoder, noise drawn outside of the graphs, and a decoder."""

from collections.abc import Mapping, Sequence
from typing import Annotated

import numpy as np
from pydantic import Field

from compressor.errors import UsageError
from compressor.graph.tensors import Array
from compressor.pipelines.builtin.base import BuiltinLoop, LoopOptions, Part, rng_of
from compressor.pipelines.calls import GraphCall
from compressor.pipelines.drawing import Generators, drawn
from compressor.pipelines.encoding import encoded_of
from compressor.pipelines.inputs import (
    Role,
    by_rows,
    cast,
    is_floating,
    output_of,
    rows_fixed,
    wired,
)

MEANS = ("mean", "mu", "z_mean", "loc", "means")
LOG_VARIANCES = ("logvar", "log_var", "log_variance", "z_log_var", "logsigma2")
DEVIATIONS = ("std", "sigma", "scale", "stddev")
MOMENTS = ("moments", "latent_parameters", "parameters")
OUTPUTS = ("reconstruction", "sample", "image", "x", "recon", "output")
LATENT = Role("latent", ("z", "latent", "latents", "latent_sample", "sample"), is_floating)


class Options(LoopOptions):
    """An autoencoder."""

    noise: bool = Field(
        True, description="Draw z = mean + exp(logvar / 2) · ε; false: z is the mean."
    )
    latent_scale: Annotated[float, Field(gt=0)] = Field(
        1.0, description="What z is multiplied by before it is decoded."
    )


class Reconstruct(BuiltinLoop[Options]):
    """An encoder of data to mean and log variance, and a decoder (Kingma and Welling 2014).

    The encoder returns `mean` and `logvar`, or `std` in place of it, or both along the second axis
    of one output called `moments`, or two outputs without such names in this order. One output
    alone is z, and there is no noise. A unit has `reconstruction`, `target`, which is the input,
    and `mean` and `logvar` where there is noise.
    """

    name = "reconstruct"
    Options = Options
    parts = (
        Part("decoder", ("decoder", "vae_decoder")),
        Part("encoder", ("encoder", "vae_encoder")),
    )
    noun = "reconstruction"
    reads = "inputs"

    @property
    def judged(self) -> str | None:
        """The reconstruction."""
        return "reconstruction"

    def units(self, graphs: Mapping[str, GraphCall], seeds: Sequence[int]) -> dict[str, Array]:
        """All units in one call of each graph, unless it has its rows baked in.

        Raises:
            UsageError: There is no data, or outputs are not known by their names.
            DataError: Units of one call differ in shape.
        """
        if not self.samples.given:
            raise UsageError(
                f"pipeline {self.name} needs data: what is encoded",
                hint="Give it by --calib, and other data that judges by --eval.",
            )
        encoder, decoder = graphs["encoder"], graphs["decoder"]
        feeds = encoded_of(self.samples, encoder, seeds)
        rows = rows_fixed(encoder.known.input(next(iter(feeds))))
        name = wired(decoder, (LATENT,), what=self.name)["latent"]
        mean, logvar = _moments(encoder, by_rows(encoder, rows, feeds), decoder, name)
        z = mean.astype(np.float64)
        if logvar is not None and self.options.noise:
            rngs: Generators = [rng_of(seed) for seed in seeds]
            z = z + np.exp(logvar.astype(np.float64) / 2) * drawn(rngs, z.shape[1:])
        latent = (z * self.options.latent_scale).astype(np.float32)
        wanted = decoder.known.input(name)
        made = by_rows(decoder, rows_fixed(wanted), {name: cast(latent, wanted)})
        (target, *_) = feeds.values()
        found = {"reconstruction": output_of(decoder, made, OUTPUTS), "target": target}
        return found if logvar is None else {**found, "mean": mean, "logvar": logvar}


def _moments(
    encoder: GraphCall, made: Mapping[str, Array], decoder: GraphCall, latent: str
) -> tuple[Array, Array | None]:
    """Mean and log variance; None for that where the encoder makes z itself.

    Raises:
        UsageError: The outputs are neither.
    """
    named = {name.lower(): array for name, array in made.items()}
    mean = next((named[name] for name in MEANS if name in named), None)
    logvar = next((named[name] for name in LOG_VARIANCES if name in named), None)
    deviation = next((named[name] for name in DEVIATIONS if name in named), None)
    if mean is not None and deviation is not None and logvar is None:
        logvar = 2 * np.log(np.maximum(deviation, np.finfo(np.float32).tiny))
    if mean is not None and logvar is not None:
        return mean, logvar
    arrays = list(made.values())
    if len(arrays) == 2 and arrays[0].shape == arrays[1].shape:
        return arrays[0], arrays[1]
    if len(arrays) == 1:
        return _parted(next(iter(named)), arrays[0], decoder, latent)
    raise UsageError(
        f"graph {encoder.name!r} returns {', '.join(made)}: which of them are mean and log "
        "variance of z is not known",
        hint="Call them mean and logvar.",
    )


def _parted(name: str, array: Array, decoder: GraphCall, latent: str) -> tuple[Array, Array | None]:
    """One output: both along the second axis where it is called so or twice z's, else z."""
    spec = decoder.known.input(latent)
    wanted = spec.shape[1] if spec is not None and len(spec.shape) > 1 else None
    if name in MOMENTS or (isinstance(wanted, int) and array.shape[1] == 2 * wanted):
        mean, logvar = np.split(array, 2, axis=1)
        return mean, np.clip(logvar, -30.0, 20.0)
    return array, None


LOOP = Reconstruct
