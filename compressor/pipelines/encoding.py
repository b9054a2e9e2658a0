"""What an encoder is fed of the user's data."""

from collections.abc import Sequence

import numpy as np

from compressor.errors import DataError
from compressor.graph.tensors import Array
from compressor.pipelines.calls import GraphCall
from compressor.pipelines.samples import Samples, of_units


def encoded_of(samples: Samples, encoder: GraphCall, seeds: Sequence[int]) -> dict[str, Array]:
    """Input → array of the samples of some seeds, a row a unit.

    Data is bound to the inputs of a graph as calibration data is. A module says no types: it is
    given the arrays by name, or the only one as its first input, in single precision.

    Raises:
        DataError: The data does not fit, or the samples differ in shape.
    """
    known = encoder.known
    samples.bind(tuple(map(of_units, known.inputs)))
    found = [samples.of(seed) for seed in seeds]
    if len({tuple((name, array.shape) for name, array in one.items()) for one in found}) > 1:
        raise DataError(
            "samples of other shapes cannot be encoded in one call",
            hint="Make such units one at a time: count = 1.",
        )
    feeds = {name: np.stack([one[name] for one in found]) for name in found[0]}
    if known.inputs:
        return feeds
    feeds = {name: array.astype(np.float32) for name, array in feeds.items()}
    if len(feeds) == 1 and known.required:
        return dict(zip(known.required[:1], feeds.values(), strict=True))
    return feeds
