"""Block OBS against least squares by hand."""

import itertools

import numpy as np
import pytest

from compressor.pruning.selection.obs import RIDGE, Contraction, removal_costs

RNG = np.random.default_rng(0)


def problem(units: int = 5, b: int = 2, m: int = 3, n: int = 400):
    mixing = RNG.standard_normal((units * b, units * b))
    x = RNG.standard_normal((n, units * b)) @ mixing
    gram = x.T @ x
    gram += RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram))
    return RNG.standard_normal((m, units * b)), gram


def loss(matrix: np.ndarray, gram: np.ndarray, left: np.ndarray) -> float:
    """min over W' on the columns left of tr((W - W') G (W - W')ᵀ)."""
    best = np.zeros_like(matrix)
    best[:, left] = matrix @ gram[:, left] @ np.linalg.inv(gram[np.ix_(left, left)])
    return float(np.trace((matrix - best) @ gram @ (matrix - best).T))


def test_costs_are_those_of_least_squares_in_the_greedy_order():
    matrix, gram = problem()
    columns = np.arange(10).reshape(5, 2)
    plain = gram - RIDGE * np.trace(gram) / len(gram) / (1 + RIDGE) * np.eye(10)
    costs = removal_costs([Contraction(matrix, plain, columns, 1.0)], 5)
    order = np.argsort(costs)
    left, before = list(range(5)), 0.0
    for unit in order[:4]:
        options = {
            u: loss(matrix, gram, columns[[v for v in left if v != u]].reshape(-1)) for u in left
        }
        assert unit == min(options, key=options.__getitem__)
        assert costs[unit] >= (options[unit] - before) * (1 - 1e-6)
        left.remove(unit)
        before = options[unit]
    assert costs[order[:2]].sum() == pytest.approx(
        loss(matrix, gram, columns[order[2:]].reshape(-1)), rel=1e-6
    )


@pytest.mark.parametrize(("units", "b"), [(12, 1), (7, 3)])
def test_costs_hold_to_the_last_unit_among_columns_that_stay(units: int, b: int) -> None:
    matrix, gram = problem(units * b + 2, 1)
    plain = gram - RIDGE * np.trace(gram) / len(gram) / (1 + RIDGE) * np.eye(len(gram))
    columns = RNG.permutation(units * b + 2)[: units * b].reshape(units, b)
    costs = removal_costs([Contraction(matrix, plain, columns, 1.0)], units)
    left, before, level = np.ones(len(gram), bool), 0.0, 0.0
    for unit in np.argsort(costs):
        left[columns[unit]] = False
        after = loss(matrix, gram, np.flatnonzero(left))
        level = max(level, after - before)
        assert costs[unit] == pytest.approx(level, rel=1e-6)
        before = after


def test_a_unit_that_others_can_make_up_for_costs_next_to_nothing_once():
    x = RNG.standard_normal((1000, 3))
    x = np.column_stack([x, x[:, 0]])
    matrix = np.ones((2, 4))
    reader = Contraction(matrix, x.T @ x, np.arange(4)[:, None], 1.0)
    costs = removal_costs([reader], 4)
    twins = np.sort(costs[[0, 3]])
    assert twins[0] < 0.01 * twins[1]
    assert twins[1] >= costs[[1, 2]].min()


def test_readers_add_up_by_their_weight():
    (first, gram), (second, other) = problem(), problem()
    columns = np.arange(10).reshape(5, 2)
    single = [
        removal_costs([Contraction(w, g, columns, 1.0)], 5, fewest=5)
        for w, g in ((first, gram), (second, other))
    ]
    both = [Contraction(first, gram, columns, 2.0), Contraction(second, other, columns, 3.0)]
    together = removal_costs(both, 5, fewest=5)
    np.testing.assert_allclose(together, 2 * single[0] + 3 * single[1], rtol=1e-9)


def test_greedy_is_not_far_from_the_best_subset():
    matrix, gram = problem(6)
    columns = np.arange(12).reshape(6, 2)
    costs = removal_costs([Contraction(matrix, gram, columns, 1.0)], 6)
    kept = columns[np.argsort(costs)[3:]].reshape(-1)
    best = min(
        loss(matrix, gram, columns[list(some)].reshape(-1))
        for some in itertools.combinations(range(6), 3)
    )
    assert loss(matrix, gram, kept) <= 2 * best
