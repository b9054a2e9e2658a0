"""Which sizes of inputs are open, found by running a stand-in for the source at others."""

from collections.abc import Iterable

import numpy as np

from compressor.capture.inputs import Inputs, sized
from compressor.capture.opening import opened
from compressor.errors import CaptureError
from compressor.recipe.notation import parse_input


def decoder(at: Inputs) -> dict[str, np.ndarray]:
    """Any tokens behind caches of one length a layer, of 4 heads of 64 channels."""
    arrays = at.arrays()
    caches = {array.shape[1:] for name, array in arrays.items() if name != "ids"}
    ((heads, _, channels),) = caches if len(caches) == 1 else ((0, 0, 0),)
    if (heads, channels) != (4, 64):
        raise CaptureError("shapes do not fit")
    return {"y": np.ones(arrays["ids"].shape[:2], np.float32)}


def given(layers: int, past: int) -> tuple[Inputs, frozenset[str]]:
    arrays = {"ids": np.ones((2, 1), np.int64)}
    names = [f"past.{layer}.{part}" for layer in range(layers) for part in ("key", "value")]
    arrays |= {name: np.ones((2, 4, past, 64), np.float32) for name in names}
    texts = ["ids:int64[batch,1]", *(f"{name}:float32[batch,4,{past},64]" for name in names)]
    return sized(tuple(map(parse_input, texts)), arrays), frozenset(arrays)


def dims(found: Inputs, inputs: Iterable[str]) -> set[tuple[object, ...]]:
    return {spec.shape for spec in found.specs if spec.name in set(inputs)}


def test_caches_of_many_layers_are_opened_where_the_data_has_several_lengths() -> None:
    for layers in (1, 4, 24):
        inputs, varied = given(layers, 30)
        found = opened(decoder, inputs, frozenset(), varied)
        ((_, heads, past, channels),) = dims(found, varied - {"ids"})
        assert (heads, channels) == (4, 64)
        assert past == "past"
        assert dims(found, {"ids"}) == {("batch", "sequence")}


def test_two_inputs_that_move_alone_are_not_tied() -> None:
    arrays = {"ids": np.ones((2, 3), np.int64)}
    arrays |= {name: np.ones((2, 4, 6, 8), np.float32) for name in ("one", "other")}
    texts = ["ids:int64[batch,3]", "one:float32[batch,4,6,8]", "other:float32[batch,4,6,8]"]
    inputs = sized(tuple(map(parse_input, texts)), arrays)

    def free(at: Inputs) -> dict[str, np.ndarray]:
        shapes = {array.shape[1::2] for name, array in at.arrays().items() if name != "ids"}
        if shapes != {(4, 8)}:
            raise CaptureError("shapes do not fit")
        return {"y": np.ones((2, 1), np.float32)}

    found = opened(free, inputs, frozenset(), frozenset(arrays))
    one, other = (spec.shape[2] for spec in found.specs[1:])
    assert isinstance(one, str)
    assert isinstance(other, str)
    assert one != other
