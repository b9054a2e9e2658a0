"""Nested results become a flat list with stable names."""

from collections import OrderedDict, namedtuple
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from compressor.capture.outputs import leaves, output_names

Point = namedtuple("Point", ["x", "y"])


@dataclass
class Result:
    logits: object
    hidden: object = None


class ModelOutput(OrderedDict):
    """Like those of transformers: a mapping that leaves out what is None."""


def _names(result, taken=()):
    return output_names([path for path, _ in leaves(result)], taken)


def test_names():
    assert _names(1.0) == ["output"]
    assert _names((1, 2, 3)) == ["output", "output_1", "output_2"]
    assert _names([(1, 2), 3]) == ["output", "output_0_1", "output_1"]
    assert _names({"logits": 1, "hidden": (2, 3)}) == ["logits", "hidden_0", "hidden_1"]
    assert _names(Point(1, Point(2, 3))) == ["x", "y_x", "y_y"]
    assert _names(Result(1, hidden={"a": 2})) == ["logits", "hidden_a"]
    assert _names(ModelOutput(loss=1, logits=2)) == ["loss", "logits"]


def test_none_is_left_out_and_keeps_the_others_in_place():
    assert leaves((1, None, {"a": None, "b": 2})) == [((0,), 1), ((2, "b"), 2)]
    assert leaves(Result(None)) == []
    assert leaves(None) == []


def test_names_stay_clear_of_inputs_and_of_each_other():
    assert _names({"x": 1, "a": {"b": 2}, "a_b": 3}, taken=["x"]) == ["x_out", "a_b", "a_b_out"]


trees = st.recursive(
    st.integers() | st.none(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from("abxy_"), inner, max_size=3)
        | st.tuples(inner, inner)
    ),
    max_leaves=12,
)


@given(trees)
def test_every_leaf_gets_a_name_of_its_own(tree):
    names = _names(tree, taken=["a", "output"])
    assert len(set(names)) == len(names) == len(leaves(tree))
    assert not {"a", "output"} & set(names)
