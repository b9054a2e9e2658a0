"""State dicts: where they lie, which prefixes go, and what a mismatch says."""

import pytest

from compressor.checkpoint.statedict import (
    find_mismatch,
    find_state_dict,
    load_into,
    strip_prefixes,
)
from compressor.errors import CheckpointError

torch = pytest.importorskip("torch")
nn = torch.nn


def _module():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))


STATE = _module().state_dict()


@pytest.mark.parametrize("key", [None, "state_dict", "model", "model_state_dict"])
def test_found_plain_and_under_the_usual_keys(key):
    loaded = STATE if key is None else {"epoch": 3, "optimizer": {"state": {}}, key: STATE}
    state, notices = find_state_dict(loaded, "m.pt")
    assert list(state) == list(STATE)
    assert notices == ()


def test_what_is_no_tensor_is_left_out_with_a_notice():
    state, notices = find_state_dict({**STATE, "epoch": 3, "a_extra_state": "kept"}, "m.pt")
    assert set(state) == {*STATE, "a_extra_state"}
    assert notices == ("not part of the state dict and left out: epoch",)


@pytest.mark.parametrize(
    ("loaded", "said"),
    [
        (torch.ones(3), "holds a Tensor"),
        ([STATE], "holds a list"),
        ({}, "its keys: none"),
        ({"epoch": 1, "ema": STATE}, "its keys: 'epoch', 'ema'"),
    ],
)
def test_anything_else_is_refused(loaded, said):
    with pytest.raises(CheckpointError, match=said):
        find_state_dict(loaded, "m.pt")


def test_a_state_dict_elsewhere_is_pointed_at():
    with pytest.raises(CheckpointError) as info:
        find_state_dict({"ema": STATE}, "m.pt")
    assert "checkpoint['ema']" in info.value.hint


@pytest.mark.parametrize(
    "prefix",
    ["module.", "model.", "net.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.model."],
)
def test_prefixes_of_wrappers_are_stripped_also_stacked(prefix):
    module = _module()
    state = {prefix + key: torch.full_like(value, 2) for key, value in STATE.items()}
    notices = load_into(module, state, "m.pt")
    assert all((value == 2).all() for value in module.state_dict().values())
    assert [notice.split("'")[1] for notice in notices] == [f"{p}." for p in prefix[:-1].split(".")]


def test_nothing_is_stripped_without_gain():
    class Wrapping(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = _module()

    state = Wrapping().state_dict()
    assert strip_prefixes(state, state) == (dict(state), ())
    assert load_into(Wrapping(), state, "m.pt") == ()
    strange = {"model.a": 1, "model.b": 2}
    assert strip_prefixes(strange, ["c"]) == (strange, ())


def test_prefixes_are_stripped_of_those_that_have_them():
    state = {"model.0.weight": 1, "loss.weight": 2}
    assert strip_prefixes(state, ["0.weight"]) == ({"0.weight": 1, "loss.weight": 2}, ("model.",))
    # Two keys would become one.
    clashing = {"module.a": 1, "a": 2}
    assert strip_prefixes(clashing, ["a", "b"]) == (clashing, ())


def test_a_mismatch_lists_missing_unexpected_and_wrong():
    state = dict(STATE)
    del state["1.bias"]
    state["2.weight"] = torch.ones(2, 2)
    state["0.bias"] = torch.ones(5)
    state["1.weight"] = torch.ones(4, dtype=torch.int8)
    with pytest.raises(CheckpointError) as info:
        load_into(_module(), state, "m.pt in f.py:make")
    assert info.value.message.splitlines() == [
        "m.pt in f.py:make: the state dict does not fit the model",
        "  missing (1): 1.bias float32[4]",
        "  unexpected (1): 2.weight float32[2,2]",
        "  wrong shape or type (2): 0.bias: model float32[4], file float32[5], "
        "1.weight: model float32[4], file int8[4]",
    ]


def test_long_lists_are_bounded_and_counted():
    mismatch = find_mismatch({}, {f"k{i}": torch.ones(1) for i in range(20)})
    assert ", and 12 more" in str(mismatch.error("m.pt"))
    assert "missing (20)" in str(mismatch.error("m.pt"))


def test_what_modules_convert_themselves_is_left_to_them():
    # BatchNorm before version 2 had no num_batches_tracked.
    state = {key: value for key, value in STATE.items() if "tracked" not in key}
    assert load_into(_module(), state, "m.pt") == ()


def test_conversion_between_precisions_is_a_notice():
    state = {key: v.half() if v.is_floating_point() else v for key, v in STATE.items()}
    assert load_into(_module(), state, "m.pt") == (
        "weights stored as float16 are loaded into a module of float32",
    )


def test_lazy_modules_get_their_shapes_from_the_state():
    lazy = nn.LazyLinear(2)
    load_into(lazy, nn.Linear(5, 2).state_dict(), "m.pt")
    assert lazy.weight.shape == (2, 5)
