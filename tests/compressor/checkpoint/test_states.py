"""State dicts in checkpoints: where they lie, and which of several is taken."""

import pytest

from compressor.checkpoint.states import find_state, find_states, fitting_state
from compressor.errors import CheckpointError

torch = pytest.importorskip("torch")
nn = torch.nn

STATE = nn.Linear(3, 2).state_dict()
OTHER = nn.Linear(4, 1).state_dict()


@pytest.mark.parametrize("key", ["", "state_dict", "model", "model_state", "ema", "netG"])
def test_found_plain_and_under_any_key(key):
    loaded = {"epoch": 3, "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}}}
    loaded |= {key: STATE} if key else STATE
    (state,) = find_states(loaded, "m.pt")
    assert (state.key, list(state.tensors)) == (key, list(STATE))


def test_found_deeper():
    (state,) = find_states({"checkpoint": {"network": {"weights": STATE}}}, "m.pt")
    assert state.key == "checkpoint.network.weights"


def test_what_is_no_tensor_is_left_out_with_a_notice():
    (state,) = find_states({**STATE, "epoch": 3, "a_extra_state": "kept"}, "m.pt")
    assert set(state.tensors) == {*STATE, "a_extra_state"}
    assert state.notices == ("not part of the state dict and left out: epoch",)


@pytest.mark.parametrize(
    ("loaded", "said"),
    [
        (torch.ones(3), "holds a Tensor"),
        ([torch.ones(3)], "holds a list"),
        ({}, "its keys: none"),
        ({"epoch": 1, "state": {0: STATE}}, "its keys: 'epoch', 'state'"),
    ],
)
def test_anything_else_is_refused(loaded, said):
    with pytest.raises(CheckpointError, match=said):
        find_states(loaded, "m.pt")


@pytest.mark.parametrize(
    ("loaded", "taken"),
    [
        ({"ema": STATE, "model": STATE}, "model"),
        ({"params_ema": STATE, "params": STATE}, "params"),
        ({"state_dict_ema": STATE, "state_dict": STATE}, "state_dict"),
        ({"netD": OTHER, "netG": STATE}, "netG"),
        ({"generator": OTHER, "discriminator": STATE}, "discriminator"),
        ({"model": OTHER, "ema": STATE}, "ema"),
        ({"centre": torch.ones(1), "net": STATE}, "net"),
    ],
)
def test_of_several_the_first_that_fits_is_taken_and_said(loaded, taken):
    chosen, notices = fitting_state(nn.Linear(3, 2), find_states(loaded, "m.pt"))
    assert chosen.key == taken
    others = [key for key, value in loaded.items() if key != taken and isinstance(value, dict)]
    assert [notices[0].rpartition(": ")[2]] == others if others else not notices


@pytest.mark.parametrize(
    ("key", "loaded"),
    [
        ("ema", {"model": OTHER, "ema": STATE}),
        ("ema.shadow", {"model": OTHER, "ema": {"decay": 0.9, "shadow": STATE}}),
        ("model_ema", {"model": OTHER, "model_ema": {"module": STATE, "decay": 0.9}}),
        ("a.b", {"a.b": STATE, "a": {"c": 1}}),
        ("generator", {f"generator.{key}": value for key, value in STATE.items()}),
        ("model.generator", {f"model.generator.{key}": value for key, value in STATE.items()}),
    ],
)
def test_the_user_chooses_by_key_or_by_what_names_begin_with(key, loaded):
    assert list(find_state(loaded, key, "m.pt").tensors) == list(STATE)


@pytest.mark.parametrize(
    ("key", "said", "hint"),
    [
        ("emma", "has no state dict of that name", "Did you mean ema"),
        ("best", "has no state dict of that name", "There is model, ema."),
        ("epoch", "has a int there", "There is model, ema."),
    ],
)
def test_a_wrong_key_says_what_there_is(key, said, hint):
    with pytest.raises(CheckpointError, match=said) as info:
        find_state({"model": STATE, "ema": STATE, "epoch": 3}, key, "m.pt")
    assert hint in info.value.hint
    with pytest.raises(CheckpointError) as info:
        find_state({"student.w": torch.ones(1), "teacher.w": torch.ones(1)}, "studnet", "m.pt")
    assert "Did you mean student?" in info.value.hint
