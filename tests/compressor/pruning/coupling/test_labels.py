"""Union-find over label arrays, against the definition."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from compressor.pruning.coupling.labels import Cause, Labels

pairs = st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), max_size=14)


@given(pairs, st.lists(st.integers(0, 11), max_size=2))
def test_classes_are_the_connected_components(edges, stay):
    labels = Labels()
    all_of_them = labels.fresh(12)
    for a, b in edges:
        labels.join(all_of_them[[a]], all_of_them[[b]])
    for label in stay:
        labels.freeze(all_of_them[[label]], Cause("n", "r"))
    expected = list(range(12))
    for _ in range(12):
        for a, b in edges:
            expected[a] = expected[b] = min(expected[a], expected[b])
    frozen = {expected[label] for label in stay}
    found = labels.solve().of(all_of_them)
    assert found.tolist() == [-1 if root in frozen else root for root in expected]


def test_frozen_labels_pass_on_their_cause_and_join_nothing():
    labels = Labels()
    first, second = Cause("a", "one"), Cause("b", "two")
    x, y = labels.fresh(2), labels.fresh(2)
    labels.join(x, labels.frozen(2, second))
    labels.join(labels.frozen(2, first), labels.frozen(2, second))
    labels.freeze(y[:1], first)
    classes = labels.solve()
    assert classes.of(y).tolist() == [-1, y[1]]
    causes = [labels.causes[index] for index in classes.cause_of(np.array([x[0], y[0]]))]
    assert causes == [second, first]
