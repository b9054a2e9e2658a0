"""Diffusion: noise becomes a sample in steps, by a denoiser."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import BeforeValidator, Field

from compressor.errors import DataError, UsageError
from compressor.graph.tensors import Array, TensorSpec
from compressor.pipelines.builtin.base import BuiltinLoop, LoopOptions, Part, rng_of
from compressor.pipelines.calls import GraphCall
from compressor.pipelines.diffusion.samplers import (
    Prediction,
    Sampler,
    ddim_step,
    ddpm_step,
    estimate,
)
from compressor.pipelines.diffusion.schedules import (
    Numbers,
    Schedule,
    Spacing,
    alphas_cumprod,
    timesteps_of,
)
from compressor.pipelines.drawing import drawn, integers, shape_of, sizes
from compressor.pipelines.inputs import (
    Role,
    by_rows,
    cast,
    is_floating,
    is_integer,
    output_of,
    rows_fixed,
    wired,
)

OUTPUTS = ("out_sample", "sample", "noise_pred", "noise", "eps", "epsilon", "v", "output", "x0")
IMAGES = ("sample", "image", "images", "reconstruction", "x", "output")


def _is_sample(one: TensorSpec) -> bool:
    return is_floating(one) and len(one.shape) >= 4


def _is_time(one: TensorSpec) -> bool:
    return len(one.shape) <= 1


def _is_context(one: TensorSpec) -> bool:
    return is_floating(one) and len(one.shape) in (2, 3)


ROLES = (
    Role("sample", ("sample", "x", "x_t", "xt", "latent", "latents", "noisy", "z"), _is_sample),
    Role("timestep", ("timestep", "timesteps", "t", "time", "time_step", "step"), _is_time),
    Role(
        "context",
        (
            "encoder_hidden_states",
            "context",
            "cond",
            "condition",
            "class_labels",
            "labels",
            "y",
            "c",
        ),
        _is_context,
        needed=False,
    ),
)


class Options(LoopOptions):
    """Diffusion."""

    steps: Annotated[int, Field(gt=0)] = Field(20, description="Calls of the denoiser a unit.")
    sampler: Sampler = Field("ddim", description="ddim, or ddpm, which draws noise at every step.")
    eta: Annotated[float, Field(ge=0, le=1)] = Field(
        0.0, description="Share of DDPM's noise that ddim draws at every step."
    )
    schedule: Schedule = Field(
        "linear", description="Schedule of noise in training: linear, cosine or scaled-linear."
    )
    beta_start: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None, description="First β; default: 0.0001, of scaled-linear 0.00085."
    )
    beta_end: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None, description="Last β; default: 0.02, of scaled-linear 0.012."
    )
    timesteps: Annotated[int, Field(gt=0)] = Field(1000, description="Timesteps in training.")
    spacing: Spacing = Field(
        "leading",
        description="Which timesteps are gone through: leading (from 0), trailing (from the last) "
        "or linspace (both).",
    )
    time_scale: Annotated[float, Field(gt=0)] = Field(
        1.0, description="What a timestep is multiplied by before it is fed; 0.001 for 0 to 1."
    )
    prediction: Prediction = Field(
        "epsilon", description="What the denoiser predicts: epsilon, the noise; sample, x₀; or v."
    )
    clip: Annotated[float, Field(gt=0)] | None = Field(
        None, description="Bound of the predicted x₀: 1 for images of -1 to 1; default: none."
    )
    guidance: Annotated[float, Field(ge=0)] = Field(
        1.0,
        description="Scale of classifier-free guidance; 1 is none. Otherwise the denoiser sees "
        "every sample with and without context.",
    )
    unconditional: Path | None = Field(
        None, description="File .npy of the context that says nothing; default: zeros."
    )
    classes: Annotated[int, Field(gt=0)] | None = Field(
        None,
        description="Classes, where the context is one; with guidance the number after the last "
        "says nothing.",
    )
    shape: Annotated[tuple[int, ...], BeforeValidator(sizes)] | None = Field(
        None, description="Shape of a sample, like 3,32,32; default: the denoiser's input."
    )
    latent_scale: Annotated[float, Field(gt=0)] = Field(
        1.0, description="What the sample is divided by before it is decoded, like 0.18215."
    )


@dataclass(frozen=True)
class _Denoiser:
    """The denoiser, its inputs, and what it is given beside x_t."""

    graph: GraphCall
    roles: Mapping[str, str]
    context: Mapping[str, Array]
    """TensorSpec → what it is given, a row a unit."""
    nothing: Mapping[str, Array]
    """The same, saying nothing; empty without guidance."""
    guidance: float
    time_scale: float

    def input(self, role: str) -> TensorSpec | None:
        return self.graph.known.input(self.roles[role])

    def predict(self, x: Numbers, t: int) -> Numbers:
        """The prediction; guided (Ho and Salimans 2022): nothing + g · (context - nothing).

        Both come from one call of twice as many rows, unless the graph has its rows baked in.
        """
        if not self.nothing:
            return self._called(x, t, self.context)
        both = {
            name: np.concatenate([self.nothing[name], array])
            for name, array in self.context.items()
        }
        without, given = np.split(self._called(np.concatenate([x, x]), t, both), 2)
        return np.asarray(without + self.guidance * (given - without))

    def _called(self, x: Numbers, t: int, context: Mapping[str, Array]) -> Numbers:
        wanted = self.input("sample")
        feeds = {self.roles["sample"]: cast(x.astype(np.float32), wanted)}
        for name, array in context.items():
            feeds[name] = cast(array, self.graph.known.input(name))
        time = self._time(t, len(x))
        each = time.ndim == 1 and rows_fixed(self.input("timestep")) != 1
        whole = {} if each else {self.roles["timestep"]: time}
        feeds |= {self.roles["timestep"]: time} if each else {}
        found = by_rows(self.graph, rows_fixed(wanted), feeds, whole)
        made = output_of(self.graph, found, OUTPUTS).astype(np.float64)
        if made.shape != x.shape and made.shape[1:2] == (2 * x.shape[1],):
            made = made[:, : x.shape[1]]  # what is learned of the variance comes behind
        if made.shape != x.shape:
            raise UsageError(
                f"graph {self.graph.name!r} returns {list(made.shape)} for a sample of "
                f"{list(x.shape)}: a prediction has the sample's shape",
                hint="See --pipeline-option prediction and shape.",
            )
        return made

    def _time(self, t: int, rows: int) -> Array:
        """A timestep in the form of its input: a number, or one a row."""
        wanted = self.input("timestep")
        value = np.asarray(t if self.time_scale == 1 else t * self.time_scale)
        value = cast(value, wanted)
        if wanted is not None and len(wanted.shape) == 0:
            return value
        return np.full(1 if rows_fixed(wanted) == 1 else rows, value)


class Denoise(BuiltinLoop[Options]):
    """A denoiser of (sample, timestep) or (sample, timestep, context), and a decoder if any.

    A unit has `sample`, x_0 or what the decoder makes of it. Its noise is drawn by its seed. The
    context is that of --calib and --eval, or a class that is drawn.
    """

    name = "denoise"
    Options = Options
    parts = (
        Part("denoiser", ("denoiser", "unet", "model", "transformer")),
        Part("decoder", ("decoder", "vae", "vae_decoder"), needed=False),
    )
    noun = "step"
    reads = "contexts"

    @property
    def judged(self) -> str | None:
        """The sample."""
        return "sample"

    def units(self, graphs: Mapping[str, GraphCall], seeds: Sequence[int]) -> dict[str, Array]:
        """All units in one batch."""
        self._require_steps()
        graph = graphs["denoiser"]
        roles = self._roles(graph)
        rngs = [rng_of(seed) for seed in seeds]
        shape = shape_of(graph, roles["sample"], self.options.shape)
        x = drawn(rngs, shape)
        context, nothing = self._context(graph, roles, seeds, rngs)
        options = self.options
        denoiser = _Denoiser(graph, roles, context, nothing, options.guidance, options.time_scale)
        sample = self._sampled(denoiser, x, rngs)
        if "decoder" in graphs:
            return {"sample": self._decoded(graphs["decoder"], sample / options.latent_scale)}
        return {"sample": sample.astype(np.float32)}

    def _sampled(
        self, denoiser: _Denoiser, x: Numbers, rngs: Sequence[np.random.Generator]
    ) -> Numbers:
        """From noise to x_0."""
        options = self.options
        alphas = alphas_cumprod(
            options.schedule, options.timesteps, options.beta_start, options.beta_end
        )
        order = timesteps_of(options.steps, options.timesteps, options.spacing).tolist()
        for t, later in zip(order, [*order[1:], None], strict=True):
            alpha, before = alphas[t], 1.0 if later is None else alphas[later]
            predicted = denoiser.predict(x, t)
            found = estimate(options.prediction, predicted, x, alpha, options.clip)
            stirs = later is not None and (options.sampler == "ddpm" or options.eta > 0)
            noise = drawn(rngs, x.shape[1:]) if stirs else np.zeros_like(x)
            if options.sampler == "ddpm":
                x = ddpm_step(found, x, alpha, before, noise)
            else:
                x = ddim_step(found, alpha, before, options.eta, noise)
        return x

    def _roles(self, graph: GraphCall) -> dict[str, str]:
        beside = self._stored(graph)
        return wired(graph, ROLES, beside=beside, what=self.name)

    def _stored(self, graph: GraphCall) -> list[str]:
        """Inputs that the data has an array for, under their own names, and that no role is."""
        if not self.samples.given:
            return []
        usual = {name for role in ROLES for name in role.names}
        sample = self.samples.of(0)
        return [n for n in graph.known.names if n in sample and n.lower() not in usual]

    def _context(
        self,
        graph: GraphCall,
        roles: Mapping[str, str],
        seeds: Sequence[int],
        rngs: Sequence[np.random.Generator],
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        """What the denoiser is given beside x_t, and the same saying nothing."""
        name = roles.get("context")
        stored = self._stored(graph)
        guided = self.options.guidance != 1
        if name is None:
            if guided:
                raise UsageError(
                    f"guidance needs a context, and graph {graph.name!r} takes none",
                    hint=f"Leave --pipeline-option guidance out; the graph is {graph.signature}.",
                )
            given = {one: self._of_data(one, seeds) for one in stored}
            return given, {}
        spec = graph.known.input(name)
        context = {one: self._of_data(one, seeds) for one in stored}
        if self.samples.given:
            context[name] = self._of_data(name, seeds)
        else:
            context[name] = self._drawn_context(graph, name, spec, rngs)
        if not guided:
            return context, {}
        return context, {**context, name: self._nothing(context[name])}

    def _of_data(self, name: str, seeds: Sequence[int]) -> Array:
        """An array of the data, a row a unit: under the input's name, or the only one."""
        rows = []
        for seed in seeds:
            sample = self.samples.of(seed)
            if name not in sample and len(sample) > 1:
                raise DataError(
                    f"pipeline {self.name} expected an array {name!r} in the data, found "
                    f"{', '.join(sample)}",
                    hint="Name the array as the denoiser's input.",
                )
            rows.append(sample[name] if name in sample else next(iter(sample.values())))
        return np.stack(rows)

    def _drawn_context(
        self,
        graph: GraphCall,
        name: str,
        spec: TensorSpec | None,
        rngs: Sequence[np.random.Generator],
    ) -> Array:
        if self.options.classes is not None:
            return integers(rngs, self.options.classes)
        if spec is None or is_integer(spec):
            raise UsageError(
                f"graph {graph.name!r} takes {name!r}, and nothing says what it is given",
                hint="Give arrays of it by --calib and --eval, or the number of classes by "
                "--pipeline-option classes=N.",
            )
        self.notice(
            f"there are no contexts: {name!r} is drawn at random, and samples are none that users "
            "ask for; --calib and --eval give real ones"
        )
        return drawn(rngs, shape_of(graph, name, None, option=None)).astype(np.float32)

    def _nothing(self, context: Array) -> Array:
        path = self.options.unconditional
        if path is not None:
            return np.broadcast_to(_loaded(path, context), context.shape)
        if context.dtype.kind in "iu" and self.options.classes is not None:
            return np.full_like(context, self.options.classes)
        return np.zeros_like(context)

    def _decoded(self, graph: GraphCall, latents: Numbers) -> Array:
        role = Role("latent", ("latent_sample", "latents", "latent", "z", "sample"), is_floating)
        name = wired(graph, (role,), what=self.name)["latent"]
        spec = graph.known.input(name)
        feeds = {name: cast(latents.astype(np.float32), spec)}
        return output_of(graph, by_rows(graph, rows_fixed(spec), feeds), IMAGES)

    def _require_steps(self) -> None:
        options = self.options
        if options.steps > options.timesteps:
            raise UsageError(
                f"there are {options.timesteps} timesteps, and {options.steps} steps",
                hint="Choose fewer by --pipeline-option steps=N.",
            )


def _loaded(path: Path, context: Array) -> Array:
    """An array of one context, with or without an axis of units."""
    try:
        found = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise DataError(f"unconditional context {path} cannot be read: {error}") from error
    found = np.asarray(found).astype(context.dtype)
    if found.shape not in (context.shape[1:], (1, *context.shape[1:])):
        raise DataError(
            f"unconditional context {path} has shape {list(found.shape)}, and a context has "
            f"{list(context.shape[1:])}"
        )
    return found


LOOP = Denoise
