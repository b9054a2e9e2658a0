"""Where samples lie in what is stored and in what a model takes."""

import numpy as np
import pytest

from calibration.axes import EACH, FIRST, SPREAD, WHOLE, SampleAxis, layout_of, likely_axes
from compressor.graph.batch import BatchAxis, batch_symbol, fixed_batch
from compressor.graph.tensors import TensorSpec


def spec(text: str) -> TensorSpec:
    """`x:float32[batch,3]` as a TensorSpec."""
    name, rest = text.split(":")
    dtype, sizes = rest.rstrip("]").split("[")
    dims = [s for s in sizes.split(",") if s]
    shape = tuple(int(s) if s.isdigit() else None if s == "?" else s for s in dims)
    return TensorSpec(name, np.dtype(dtype), shape)


SECOND = SampleAxis(BatchAxis(1), 1)
X = "x:float32[batch,8]"


@pytest.mark.parametrize(
    ("inputs", "shapes", "axes"),
    [
        ([X], [(64, 8)], [FIRST]),
        ([X, "s:float32[3]"], [(64, 8), (3,)], [FIRST, WHOLE]),
        ([X, "s:float32[3]"], [(64, 8), (64, 3)], [FIRST, EACH]),
        ([X, "s:float32[3]"], [(3, 8), (3, 3)], [FIRST, EACH]),
        ([X, "t:int64[]"], [(64, 8), ()], [FIRST, WHOLE]),
        ([X, "t:int64[]"], [(64, 8), (64,)], [FIRST, EACH]),
        ([X, "t:int64[]"], [(4, 8), (1,)], [FIRST, WHOLE]),
        ([X, "t:int64[1]"], [(64, 8), (64,)], [FIRST, EACH]),
        ([X, "t:int64[1]"], [(64, 8), (64, 1)], [FIRST, EACH]),
        ([X, "t:int64[1]"], [(4, 8), ()], [FIRST, WHOLE]),
        ([X, "t:int64[batch]"], [(4, 8), ()], [FIRST, SPREAD]),
        ([X, "t:int64[batch]"], [(4, 8), (1,)], [FIRST, SPREAD]),
        ([X, "gain:float32[]"], [(4, 8), (4, 1)], [FIRST, EACH]),
        ([X, "h:float32[2,batch,3]"], [(4, 8), (2, 1, 3)], [FIRST, SampleAxis(BatchAxis(1), None)]),
        ([X, "t:int64[steps]"], [(64, 8), (64,)], [FIRST, FIRST]),
        ([X, "t:int64[steps]"], [(64, 8), (1,)], [FIRST, WHOLE]),
        ([X, "t:int64[steps]"], [(64, 8), (256,)], [FIRST, SampleAxis(BatchAxis(0, 4), 0)]),
        ([X, "i:float32[3,h,w]"], [(64, 8), (3, 9, 9)], [FIRST, WHOLE]),
        ([X, "i:float32[3,h,w]"], [(64, 8), (64, 3, 9, 9)], [FIRST, EACH]),
        (["h:float32[2,batch,5]", X], [(2, 64, 5), (64, 8)], [SECOND, FIRST]),
        (["h:float32[2,batch,5]", X], [(64, 2, 5), (64, 8)], [SampleAxis(BatchAxis(1), 0), FIRST]),
        (
            ["h:float32[2,batch,5]", X],
            [(64, 2, 1, 5), (64, 8)],
            [SampleAxis(BatchAxis(1), 0, kept=True), FIRST],
        ),
        ([X, "h:float32[2,?,5]"], [(64, 8), (2, 64, 5)], [FIRST, SECOND]),
        ([X, "b:int64[batch*4,7]"], [(6, 8), (24, 7)], [FIRST, SampleAxis(BatchAxis(0, 4), 0)]),
        ([X, "b:int64[4*batch,7]"], [(6, 8), (24, 7)], [FIRST, SampleAxis(BatchAxis(0, 4), 0)]),
        (["x:float32[1,8]", "p:float32[1,9]"], [(64, 8), (1, 9)], [FIRST, WHOLE]),
        (["x:float32[1,8]", "h:float32[2,1,5]"], [(64, 8), (2, 64, 5)], [FIRST, SECOND]),
        (["a:float32[3,4]", "b:float32[5]"], [(3, 4), (5,)], [FIRST, WHOLE]),
        (["a:float32[3,4]", "b:float32[4,3]"], [(3, 4), (4, 3)], [WHOLE, WHOLE]),
        (["a:float32[]", "b:float32[]"], [(), ()], [WHOLE, WHOLE]),
    ],
    ids=str,
)
def test_arrays_fit_inputs(inputs, shapes, axes):
    layout = layout_of([spec(text) for text in inputs], shapes)
    assert layout is not None and list(layout.axes) == axes


@pytest.mark.parametrize(
    ("inputs", "shapes"),
    [
        ([X, "m:float32[batch,3]"], [(8, 8), (7, 3)]),
        ([X], [(4, 9)]),
        ([X, "s:float32[3]"], [(64, 8), (4,)]),
        (["h:float32[2,batch,5]", X], [(2, 63, 5), (64, 8)]),
        ([X, "b:int64[batch*4,7]"], [(6, 8), (12, 7)]),
    ],
)
def test_others_do_not(inputs, shapes):
    assert layout_of([spec(text) for text in inputs], shapes) is None


@pytest.mark.parametrize(
    ("lies", "stored", "rank"),
    [
        (FIRST, (6, 3), 2),
        (SECOND, (2, 6, 5), 3),
        (SampleAxis(BatchAxis(0, 4), 0), (24, 7), 2),
        (SampleAxis(BatchAxis(1, 3), 1), (2, 18, 5), 3),
    ],
)
def test_what_is_laid_out_comes_back_as_it_was(lies, stored, rank):
    array = np.arange(np.prod(stored)).reshape(stored)
    rows = lies.rows(array)
    assert len(rows) == lies.samples(stored) == 6
    np.testing.assert_array_equal(lies.call(rows, rank), array)


def test_samples_that_kept_their_axis_are_joined_along_it():
    array = np.arange(6 * 2 * 5).reshape(6, 2, 1, 5)
    lies = SampleAxis(BatchAxis(1), 0, kept=True)
    assert lies.samples(array.shape) == 6
    np.testing.assert_array_equal(lies.call(lies.rows(array), 3), np.concatenate(list(array), 1))


@pytest.mark.parametrize(
    ("inputs", "symbol", "fixed"),
    [
        ([X], "batch", None),
        (["h:float32[2,batch,5]", "x:float32[batch,8]"], "batch", None),
        (["t:int64[steps]", "x:float32[N,4,8,8]"], "N", None),
        (["t:int64[u]", "x:float32[v,4,8,8]"], "v", None),
        (["ids:int64[?,?]", "mask:int64[?,?]"], "batch", None),
        (["x:float32[1,3,h,w]"], None, 1),
        (["ids:int64[1,seq]", "mask:int64[1,seq]"], None, 1),
        (["h:float32[2,1,5]", "x:float32[1,8]"], None, 1),
        (["x:float32[4,8,8]", "h:float32[2,4,5]"], None, 4),
        (["t:int64[]"], None, None),
    ],
    ids=str,
)
def test_the_size_that_counts_samples(inputs, symbol, fixed):
    specs = [spec(text) for text in inputs]
    assert (batch_symbol(specs), fixed_batch(specs)) == (symbol, fixed)


def test_without_a_model_the_leading_size_that_most_arrays_share_counts_samples():
    axes = likely_axes({"state": (2, 64, 9), "x": (64, 8), "scales": (3,), "t": ()})
    assert axes == {"state": SECOND, "x": FIRST, "scales": WHOLE, "t": WHOLE}


def test_a_value_beside_sounds_of_one_channel_counts_no_samples():
    axes = likely_axes({"wave": (40, 1, 400), "rate": (1,), "gain": ()})
    assert axes == {"wave": FIRST, "rate": WHOLE, "gain": WHOLE}
    state = likely_axes({"h": (2, 1, 128), "x": (1, 20, 40)})
    assert state == {"h": SECOND, "x": FIRST}
