"""Optimization profiles: the shapes that an engine is built for, where the model leaves them open.

An engine runs any shape between the least and the greatest of one of its profiles, and is tuned for
the most likely one. Profiles come from the user, or from the data: the most likely shape is that of
the deciding batch, batches reach from one sample to the largest that was asked for, and sizes
other than the batch are those of the samples; of a decoder from one token to a whole prompt. Of a
graph in a loop they are the shapes that the loop fed it.
"""

from collections.abc import Iterable, Mapping, Sequence

import onnx_ir as ir

from compressor.errors import RecipeError
from exporters.base import CallShapes, Samples
from exporters.trt.called import profiles_of_calls
from exporters.trt.notation import FLAG, Profile, Span, asked


def require_fitting(model: ir.Model, profiles: Sequence[Profile]) -> None:
    """Refuse profiles that do not fit the inputs of a model.

    Raises:
        RecipeError: A name, a rank or a fixed size differs, or an open input has no shapes.
    """
    inputs = {value.name or "": value for value in model.graph.inputs}
    for number, profile in enumerate(profiles, start=1):
        for name, span in profile.items():
            if name not in inputs:
                raise RecipeError(
                    f"profile {number} is for the input {name!r}, which the model does not have",
                    hint=f"Its inputs are {_told(inputs)}.",
                )
            _require_shape(inputs[name], span, number)
        missing = [name for name in open_inputs(model.graph.inputs) if name not in profile]
        if missing:
            raise RecipeError(
                f"profile {number} has no shapes for the input {missing[0]!r}",
                hint=f"Its inputs are {_told(inputs)}: pass {FLAG} for each that is open.",
            )


def profiles_for(
    model: ir.Model, texts: Sequence[str], samples: Samples | None
) -> tuple[Profile, ...]:
    """Those that were asked for, else from the data; none for a model of fixed shapes.

    From calls of a loop there are as many as it takes for sizes to go together as they came.

    Raises:
        RecipeError: They do not fit, or there is nothing to tell the sizes by.
    """
    inputs = {value.name or "": value for value in model.graph.inputs}
    if texts:
        profiles = asked(texts)
        require_fitting(model, profiles)
        return tuple(profiles)
    if not open_inputs(model.graph.inputs):
        return ()
    if samples is None:
        raise RecipeError("the model has open sizes, and no data tells them", hint=f"Pass {FLAG}.")
    names = open_inputs(model.graph.inputs)
    return of_loop(names, samples.calls) or (
        {name: _seen(inputs[name], samples) for name in names},
    )


def of_loop(names: Sequence[str], calls: Mapping[CallShapes, int]) -> tuple[Profile, ...]:
    """Profiles from the calls of a loop; none where there is no loop, or it does not feed them."""
    if not names or not calls:
        return ()
    if not all({name for name, _ in call}.issuperset(names) for call in calls):
        return ()
    return profiles_of_calls(names, calls)


def open_inputs(inputs: Iterable[ir.Value]) -> list[str]:
    """The inputs with a size that is not fixed."""
    return [
        value.name or ""
        for value in inputs
        if any(not isinstance(dim, int) for dim in value.shape or ())
    ]


def _seen(value: ir.Value, samples: Samples) -> Span:
    """The shapes of one input by the data: its batch varies, and what other calls have else."""
    sizes = tuple(samples.feeds[value.name or ""].shape)
    others = [feeds[value.name or ""].shape for feeds in samples.also]
    all_sizes = list(zip(sizes, *others, strict=True))
    dims = list(value.shape or ())
    span = []
    ends = (tuple(map(min, all_sizes)), sizes, tuple(map(max, all_sizes)))
    for batch, shape in zip(samples.batches, ends, strict=True):
        span.append(
            tuple(
                batch if axis == 0 and not isinstance(dims[0], int) else size
                for axis, size in enumerate(shape)
            )
        )
    unknown = [d for axis, d in enumerate(dims) if axis and not isinstance(d, int)]
    if unknown and not samples.are_real:
        raise RecipeError(
            f"the size {unknown[0]} of the input {value.name!r} is open, and no data tells it",
            hint=f"Pass --calib DATA, or {FLAG}.",
        )
    return Span(*span)


def _require_shape(value: ir.Value, span: Span, number: int) -> None:
    dims = list(value.shape or ())
    for shape in span:
        fits = len(shape) == len(dims) and all(
            not isinstance(dim, int) or dim == size for dim, size in zip(dims, shape, strict=True)
        )
        if not fits:
            raise RecipeError(
                f"profile {number}: {'x'.join(map(str, shape))} is no shape of the input "
                f"{value.name!r}, which is {_told({value.name or '': value})}",
                hint="Only sizes that the model leaves open can vary.",
            )


def _told(inputs: Mapping[str, ir.Value]) -> str:
    return ", ".join(
        f"{name}[{','.join(str(dim) for dim in value.shape or ())}]"
        for name, value in inputs.items()
    )
