"""How many units go: the target is met, the limits hold, the cheap ones go first."""

import itertools

import numpy as np
import pytest
from graphs import residual
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.graph.cost import macs
from compressor.pruning import Grouping, cut, find_groups
from compressor.pruning.coupling.groups import Group
from compressor.pruning.selection.allocation import Limits, allocate
from compressor.pruning.selection.costs import Cost, Kept, Macs, Sizes

MODEL = residual()
FEEDS = {"x": np.zeros((2, 32, 8, 8), np.float32)}
GROUPING = find_groups(MODEL, FEEDS)
COST = Macs(Sizes(MODEL, GROUPING))


def random_scores(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {group.name: rng.random(group.units) for group in GROUPING.groups}


def test_the_cost_is_that_of_the_cut_model():
    rng = np.random.default_rng(0)
    for _ in range(5):
        keep = {g.name: rng.random(g.units) < 0.6 for g in GROUPING.groups}
        made = cut(MODEL, GROUPING, keep)
        assert COST({name: int(mask.sum()) for name, mask in keep.items()}) == macs(made).macs


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 100),
    threshold=st.floats(0.01, 0.99),
    multiple=st.sampled_from([1, 4, 8]),
)
def test_a_threshold_lets_all_go_that_is_below_it_and_nothing_else(seed, threshold, multiple):
    scores = random_scores(seed)
    found = allocate(GROUPING, scores, COST, 0.0, Limits(1e-9, multiple, threshold=threshold))
    for group in GROUPING.groups:
        mask = found.keep.get(group.name, np.ones(group.units, bool))
        weak = scores[group.name] < threshold * scores[group.name].max()
        assert not (~mask & ~weak).any()
        assert (mask & weak).sum() < multiple  # what stays is rounded up


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 100),
    share=st.floats(0.05, 0.95),
    multiple=st.sampled_from([1, 4, 8]),
    least=st.sampled_from([0.0, 0.125, 0.5]),
)
def test_target_and_limits(seed, share, multiple, least):
    scores = random_scores(seed)
    limits = Limits(least=least, multiple=multiple)
    whole = COST({})
    found = allocate(GROUPING, scores, COST, whole * (1 - share), limits)
    assert found.cost == COST({name: int(mask.sum()) for name, mask in found.keep.items()})
    assert found.reached == (found.cost <= whole * (1 - share))
    for name, mask in found.keep.items():
        kept = mask.sum()
        assert kept >= max(1, least * mask.size)
        assert kept % multiple == 0
        assert scores[name][mask].min() >= scores[name][~mask].max()
        assert found.damage[name] == pytest.approx(scores[name][~mask].sum())
    if not found.reached:
        smallest = {
            g.name: next(
                n for n in range(1, g.units + 1) if n >= least * g.units and n % multiple == 0
            )
            for g in GROUPING.groups
        }
        assert found.cost == COST(smallest)


def test_a_group_left_alone_stays_whole():
    scores = random_scores(0)
    for pattern in ("Conv_0", "w1", "w?"):
        found = allocate(GROUPING, scores, COST, COST({}) / 2, Limits(leave=(pattern,)))
        touched = {m.value for g in GROUPING.groups if g.name in found.keep for m in g.members}
        assert pattern == "w?" or not touched & {"w1"}
        assert pattern != "w?" or not found.keep


def test_what_costs_less_damage_goes_first():
    scores = {g.name: np.full(g.units, 1.0) for g in GROUPING.groups}
    cheap = GROUPING.groups[0].name
    scores[cheap] = np.full(32, 1e-3)
    found = allocate(GROUPING, scores, COST, COST({}) * 0.8)
    assert set(found.keep) == {cheap}


def test_another_cost_can_stand_in():
    """A cost that only multiples of eight lower, as a kernel's time does."""
    name = GROUPING.groups[0].name

    def time(kept):
        return float(-(-kept.get(name, 32) // 8))

    found = allocate(GROUPING, random_scores(1), time, 2.0, Limits(multiple=8))
    assert found.reached
    assert found.keep[name].sum() == 16


def test_a_cost_that_stays_the_same_for_a_while_does_not_end_the_descent():
    """Kernels in blocks of 16: only every sixteenth unit saves any time."""
    grouping = Grouping((Group("a", 64, ()),), (), ())
    found = allocate(
        grouping, {"a": np.ones(64)}, lambda kept: -(-kept.get("a", 64) // 16), 2, Limits(least=0.1)
    )
    assert found.reached
    assert found.keep["a"].sum() == 32
    assert found.damage["a"] == 32


@pytest.mark.parametrize(
    ("units", "multiple"), [(128, 32), (64, 32), (63, 16), (32, 16), (31, 8), (8, 8)]
)
def test_small_groups_take_finer_multiples(units: int, multiple: int):
    assert Limits(multiple=32, finer=(16, 8)).multiple_of(units) == multiple
    assert Limits(multiple=32).multiple_of(units) == 32


@pytest.mark.parametrize("pattern", ["Conv_0", "Conv_2", "Gemm_7", "w?", "s", "*"])
def test_any_node_weight_or_value_of_a_group_leaves_it_alone(pattern: str):
    (group,) = [g for g in GROUPING.groups if g.is_left(("Gemm_7",))]
    assert group.is_left((pattern,))
    assert not group.is_left(("Conv_9", "conv_0"))
    found = allocate(GROUPING, random_scores(0), COST, 0.0, Limits(leave=(pattern,)))
    assert group.name not in found.keep


def one_group(units: int, per_unit: float = 1.0, rest: float = 0.0) -> tuple[Grouping, Cost]:
    """A group whose units all cost the same, beside what cannot go."""
    group = Group(name="g", units=units, members=())
    return Grouping(
        groups=(group,), frozen={}, unknown=()
    ), lambda kept: rest + per_unit * kept.get("g", units)


@pytest.mark.parametrize("units", [6, 12, 20, 32, 48, 64, 96, 512])
@pytest.mark.parametrize("multiple", [8, 12, 16, 32])
@pytest.mark.parametrize("share", [0.1, 0.3, 0.5])
def test_multiples_give_way_before_much_more_than_asked_goes(units, multiple, share):
    grouping, cost = one_group(units)
    scores = {"g": np.arange(1.0, units + 1)}
    found = allocate(grouping, scores, cost, units * (1 - share), Limits(0.01, multiple, most=1.2))
    gone = 1 - found.cost / units
    assert found.reached
    finest = np.ceil(share * units) / units  # where a single unit is more than a fifth of the share
    assert share - 1e-9 <= gone <= max(1.2 * share, share + 0.02, finest) + 1e-9
    assert found.far == (gone > max(1.2 * share, share + 0.02) + 1e-9)


def test_multiples_hold_where_they_take_about_what_was_asked():
    grouping, cost = one_group(64)
    scores = {"g": np.arange(1.0, 65)}
    found = allocate(grouping, scores, cost, 64 * 0.67, Limits(0.01, 8, most=1.2))
    assert found.cost == 40  # 24 of 64 for a third, where 22 would do


def test_what_takes_twice_as_much_is_not_removed():
    grouping, cost = one_group(2)
    found = allocate(grouping, {"g": np.ones(2)}, cost, 2 * 0.9, Limits(0.01, 1, most=1.5))
    assert not found.reached
    assert not found.keep
    assert found.refused == 1.0
    assert allocate(grouping, {"g": np.ones(2)}, cost, 2 * 0.9, Limits(0.01, 1)).cost == 1.0


def test_savings_count_from_the_graph_with_the_blocks_that_went():
    grouping, cost = one_group(16)
    limits = Limits(0.01, 16, most=1.5, whole=24.0)  # a block of 8 has gone
    found = allocate(grouping, {"g": np.ones(16)}, cost, 14.0, limits)
    assert found.cost == 12.0  # half of the whole, where ten of its 24 were to go


def test_large_units_wait_for_groups_of_small_ones():
    groups = (Group(name="heads", units=2, members=()), Group(name="inner", units=64, members=()))
    grouping = Grouping(groups=groups, frozen={}, unknown=())

    def cost(kept: Kept) -> float:
        return 100.0 * kept.get("heads", 2) + kept.get("inner", 64)

    scores = {"heads": np.full(2, 1e-9), "inner": np.arange(1.0, 65)}  # heads seem to cost nothing
    found = allocate(grouping, scores, cost, 264 - 30, Limits(0.1, 8, most=1.5))
    assert set(found.keep) == {"inner"}
    assert 264 - 45 <= found.cost <= 264 - 30


@pytest.mark.parametrize("widths", [(17, 23, 29), (13, 31), (5, 7, 11), (127, 131)])
@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7])
def test_odd_widths_lose_about_what_was_asked(widths, share):
    """A chain of layers, each of which costs its inputs times its outputs."""
    groups = tuple(Group(name=f"g{i}", units=n, members=()) for i, n in enumerate(widths))
    grouping = Grouping(groups=groups, frozen={}, unknown=())

    def cost(kept: Kept) -> float:
        sizes = [3, *(kept.get(g.name, g.units) for g in groups), 10]
        return float(sum(a * b for a, b in itertools.pairwise(sizes)))

    scores = {g.name: np.random.default_rng(i).random(g.units) for i, g in enumerate(groups)}
    for multiple in (8, 16):
        found = allocate(
            grouping, scores, cost, cost({}) * (1 - share), Limits(0.1, multiple, most=1.2)
        )
        gone = 1 - found.cost / cost({})
        assert found.reached and not found.far
        assert share <= gone <= 1.2 * share + 1e-9


def test_small_steps_are_kept_for_where_large_ones_end():
    """Of heads and single channels the former, which seem cheap, must not use up what is asked."""
    groups = (Group(name="heads", units=4, members=()), Group(name="inner", units=20, members=()))
    grouping = Grouping(groups=groups, frozen={}, unknown=())

    def cost(kept: Kept) -> float:
        return 11.0 * kept.get("heads", 4) + 3.0 * kept.get("inner", 20)

    scores = {"heads": np.full(4, 1.0), "inner": np.full(20, 0.2)}
    for share in (0.1, 0.2, 0.3, 0.5):
        found = allocate(grouping, scores, cost, 104 * (1 - share), Limits(0.2, 16, most=1.2))
        assert share <= 1 - found.cost / 104 <= 1.2 * share + 0.02


def test_what_a_large_last_step_makes_needless_is_given_back():
    groups = (Group(name="heads", units=2, members=()), Group(name="inner", units=4, members=()))
    grouping = Grouping(groups=groups, frozen={}, unknown=())

    def cost(kept: Kept) -> float:
        return 40.0 * kept.get("heads", 2) + 5.0 * kept.get("inner", 4)

    scores = {"heads": np.ones(2), "inner": np.full(4, 1e-3)}
    found = allocate(grouping, scores, cost, 70.0, Limits(0.2, 1, most=1.2))
    assert found.reached and found.far and found.cost == 60.0 and set(found.keep) == {"heads"}


def test_multiples_give_way_no_further_than_the_finest():
    assert Limits(multiple=8, most=1.2).multiples_of(64) == (8, 4, 2, 1)
    assert Limits(multiple=8, most=1.2, finest=4).multiples_of(64) == (8, 4)
    assert Limits(multiple=8).multiples_of(64) == (8,)
