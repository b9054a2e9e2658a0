"""What is varied without a word in the recipe, by the kind of model."""

import pytest
from graphs import model, residual, tagger
from makers import maker_of

from compressor.search.recipes.defaults import (
    WIDEST,
    default_variables,
    kind_of,
    known_variables,
)
from compressor.search.recipes.shared import Shared
from compressor.search.recipes.variables import Choice


@pytest.fixture(scope="module")
def shared() -> Shared:
    return maker_of(residual()).shared


def test_kinds_are_told_by_operators() -> None:
    attention = model(
        """g (float[n,7,64] x, float[64,64] w) => (float[n,7,64] y)
        {
            m = ReduceMean<keepdims=1>(x)
            c = Sub(x, m)
            p = MatMul(c, w)
            s = Softmax<axis=-1>(p)
            y = Add(s, x)
        }""",
        w=[64, 64],
    )
    products = model(
        "g (float[n,64] x, float[64,64] w) => (float[n,64] y) { y = MatMul(x, w) }", w=[64, 64]
    )
    found = [kind_of(one) for one in (residual(), attention, tagger(), products)]
    assert found == ["convolutional", "transformer", "recurrent", "other"]


def test_a_convolutional_model_varies_what_it_has(shared: Shared) -> None:
    known = known_variables(shared)
    assert [name for name in WIDEST if name in known] == list(known)
    found = default_variables(shared, known)
    assert {"ranges", "equalization", "rounding", "bias", "regions", "prune"} <= set(found)
    assert "smoothing" not in found


def test_stored_weights_are_for_who_minimizes_size(shared: Shared) -> None:
    known = known_variables(shared)
    precision = default_variables(shared, known)["precision"]
    assert isinstance(precision, Choice)
    assert {"int8", "int4", "fp16"} <= set(precision.values)
    shared.objectives = ("latency", "quality")
    assert "precision" not in default_variables(shared, known)
    shared.objectives = ("quality", "size")
