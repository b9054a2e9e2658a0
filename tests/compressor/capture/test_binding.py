"""Inputs find their parameters of `forward`."""

import pytest

from calibration.fields import Signature
from compressor.capture.binding import CallBinding, bind, signature, without_strangers
from compressor.errors import CaptureError


class Module:
    """`bind` looks at nothing but `forward`."""

    def __init__(self, forward):
        self.forward = forward


def _bind(forward, *names):
    return bind(Module(forward), names)


def test_a_single_input_binds_by_position_whatever_its_name():
    assert _bind(lambda x, mask=None: 0, "image") == CallBinding(("image",), {})
    assert _bind(lambda *tensors: 0, "image") == CallBinding(("image",), {})
    assert _bind(lambda **inputs: 0, "image") == CallBinding((), {"image": "image"})


def test_a_single_input_binds_by_name_where_that_is_all_that_is_needed():
    assert _bind(lambda ids=None, pixels=None: 0, "pixels") == CallBinding((), {"pixels": "pixels"})
    # By the name of an optional parameter, the one that is needed would go without.
    assert _bind(lambda x, mask=None: 0, "mask") == CallBinding(("mask",), {})


def test_a_single_input_of_a_keyword_only_module():
    assert _bind(lambda *, scale=1, x: 0, "image") == CallBinding((), {"x": "image"})
    assert _bind(lambda *, x=None: 0, "image") == CallBinding((), {"x": "image"})


def test_several_bind_by_name_in_the_order_of_forward():
    binding = _bind(lambda a, b, /, c, *, d, e=None: 0, "d", "c", "b", "a")
    assert binding == CallBinding(("a", "b"), {"c": "c", "d": "d"})
    assert binding.order == ("a", "b", "c", "d")


def test_several_into_variadic_parameters():
    assert _bind(lambda *xs: 0, "b", "a") == CallBinding(("b", "a"), {})
    assert _bind(lambda x, **rest: 0, "y", "x") == CallBinding((), {"x": "x", "y": "y"})


def test_strangers_are_named_with_the_signature():
    with pytest.raises(CaptureError) as info:
        _bind(lambda ids, mask=None: 0, "ids", "attention_mask")
    assert "forward(ids, mask=None) does not fit the inputs ids, attention_mask" in str(info.value)


def test_missing_inputs_are_named():
    with pytest.raises(CaptureError, match="needs mask, and there is no such input; found x"):
        _bind(lambda ids, mask: 0, "x")
    with pytest.raises(CaptureError, match="needs b,"):
        _bind(lambda a, b, c: 0, "a", "c")


def test_arrays_without_names_bind_by_position():
    assert _bind(lambda a, b: 0, "input_0", "input_1") == CallBinding(("input_0", "input_1"), {})
    with pytest.raises(CaptureError, match="does not fit"):
        _bind(lambda a: 0, "input_0", "input_1", "input_2")


def test_the_signature_is_what_forward_says():
    assert signature(Module(lambda z, y: 0)) == Signature(("z", "y"), 2)
    assert signature(Module(lambda a, mask=None: 0)) == Signature(("a", "mask"), 1)
    assert signature(Module(lambda a, **rest: 0)) == Signature(("a",), 1, any_more=True)


def test_arrays_that_nothing_asks_for_are_left_out_once_every_parameter_has_one():
    module = Module(lambda ids, mask=None: 0)
    assert without_strangers(module, ["index", "mask", "ids"]) == ("mask", "ids")
    # The stranger may be the mask, misspelt: `bind` is to complain.
    assert without_strangers(module, ["ids", "attention_mask"]) == ("ids", "attention_mask")
    assert without_strangers(Module(lambda x, **rest: 0), ["x", "y"]) == ("x", "y")
    assert without_strangers(Module(lambda *xs: 0), ["x", "y"]) == ("x", "y")


def test_parts_of_a_nested_parameter_are_to_be_put_together():
    with pytest.raises(CaptureError, match="does not fit") as error:
        _bind(lambda ids, past: 0, "ids", "past_key", "past_value")
    assert "If past is made of past_key, past_value: give by --model" in error.value.hint
