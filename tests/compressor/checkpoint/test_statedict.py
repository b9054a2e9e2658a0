"""State dicts: where they lie, which prefixes go, and what a mismatch says."""

import pytest

from compressor.checkpoint.renaming import Renamed, fit_names
from compressor.checkpoint.statedict import find_mismatch, load_into
from compressor.errors import CheckpointError

torch = pytest.importorskip("torch")
nn = torch.nn


def _module():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))


STATE = _module().state_dict()


@pytest.mark.parametrize(
    "prefix",
    ["module.", "model.", "net.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.model."],
)
def test_prefixes_of_wrappers_are_stripped_also_stacked(prefix):
    module = _module()
    state = {prefix + key: torch.full_like(value, 2) for key, value in STATE.items()}
    notices = load_into(module, state, "m.pt")
    assert all((value == 2).all() for value in module.state_dict().values())
    assert notices == (f"prefix {prefix!r} stripped from the state dict's keys",)


class Wrapping(nn.Module):
    """A network under `net`, and a buffer that no file needs."""

    def __init__(self):
        super().__init__()
        self.net = _module()
        self.register_buffer("steps", torch.zeros(3), persistent=False)


@pytest.mark.parametrize("prefix", ["", "module.", "student."])
def test_a_prefix_that_all_keys_lack_is_added(prefix):
    module = Wrapping()
    state = {prefix + key: torch.full_like(value, 2) for key, value in STATE.items()}
    notices = load_into(module, state, "m.pt")
    assert all((value == 2).all() for value in module.state_dict().values())
    assert notices[-1] == "prefix 'net.' added to the state dict's keys"


@pytest.mark.parametrize("mark", ["_orig_mod.", "module.", "_checkpoint_wrapped_module."])
def test_what_wrappers_of_a_part_left_within_the_names_is_taken_out(mark):
    module = Wrapping()
    state = {f"net.{mark}{key}": torch.full_like(value, 2) for key, value in STATE.items()}
    assert load_into(module, state, "m.pt") == (f"{mark!r} taken out of the state dict's keys",)
    assert all((value == 2).all() for value in module.state_dict().values())


def test_of_two_networks_in_a_file_the_plain_one_is_taken_and_said():
    module = _module()
    state = {f"teacher.{key}": torch.zeros_like(value) for key, value in STATE.items()}
    state |= {f"student.{key}": torch.full_like(value, 2) for key, value in STATE.items()}
    stripped, others, left = load_into(module, state, "m.pt")
    assert all((value == 2).all() for value in module.state_dict().values())
    assert "'student.'" in stripped
    assert others == "'teacher.' would fit as well: --state-key teacher takes it"
    assert "7 of 14 entries" in left


def test_nothing_is_changed_without_gain():
    state = Wrapping().state_dict()
    assert fit_names(state, state) == Renamed(dict(state))
    assert load_into(Wrapping(), state, "m.pt") == ()
    strange = {"model.a": 1, "model.b": 2}
    assert fit_names(strange, {"c": 1}) == Renamed(strange)
    clashing = {"module.a": 1, "a": 2}  # two keys would become one
    assert fit_names(clashing, {"a": 1, "b": 2}) == Renamed(clashing)


def test_prefixes_are_stripped_of_those_that_have_them():
    state = {"model.0.weight": 1, "loss.weight": 2}
    assert fit_names(state, {"0.weight": 1}).state == {"0.weight": 1, "loss.weight": 2}


def test_what_the_module_has_no_use_for_is_left_out_with_a_notice():
    state = {**STATE, "criterion.weight": torch.ones(3), "accuracy.total": torch.ones(1)}
    (notice,) = load_into(_module(), state, "m.pt")
    assert "2 of 9 entries" in notice
    assert "criterion.weight, accuracy.total" in notice


def test_layers_that_the_module_lacks_are_an_error():
    deeper = nn.Sequential(*_module(), nn.Conv2d(4, 4, 3)).state_dict()
    with pytest.raises(CheckpointError, match=r"unexpected \(2\): 2.weight float32\[4,4,3,3\]"):
        load_into(_module(), deeper, "m.pt")


class Tied(nn.Module):
    """Embedding and head share their weight, at once or when `tie_weights` is called."""

    def __init__(self, *, at_once):
        super().__init__()
        self.embed, self.head = nn.Embedding(5, 3), nn.Linear(3, 5, bias=False)
        if at_once:
            self.tie_weights()

    def tie_weights(self):
        self.head.weight = self.embed.weight


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("kept", ["embed.weight", "head.weight"])
@pytest.mark.parametrize("prefix", ["", "model."])
def test_of_tied_weights_one_is_enough(at_once, kept, prefix):
    module = Tied(at_once=at_once)
    load_into(module, {prefix + kept: torch.full((5, 3), 2.0)}, "m.pt")
    assert module.head.weight is module.embed.weight
    assert (module.embed.weight == 2).all()


def test_none_of_tied_weights_is_missing():
    with pytest.raises(CheckpointError, match=r"missing \(2\)"):
        load_into(Tied(at_once=True), {"other": torch.ones(5, 3)}, "m.pt")


def test_tied_weights_that_differ_in_the_file_are_said():
    state = {"embed.weight": torch.ones(5, 3), "head.weight": torch.zeros(5, 3)}
    module = Tied(at_once=True)
    (notice,) = load_into(module, state, "m.pt")
    assert notice.endswith("which differ in the file: head.weight was taken")
    assert (module.embed.weight == 0).all()
    state["embed.weight"] = state["head.weight"].clone()
    assert load_into(module, state, "m.pt") == ()


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
