"""After the walk: are all sizes right whatever is removed, and was every choice of use?"""

import numpy as np

from compressor.pruning.coupling.dimensions import Choice, Demand, Walk
from compressor.pruning.coupling.labels import Cause, Classes
from compressor.pruning.coupling.sizes import ConstantOrigin, PositionWeights

_SEEDS = (0, 1)
_CLOSE = 1e-9


def settle(walk: Walk) -> Classes:
    """Find the classes; freeze what a computed size would contradict, until none does."""
    while True:
        classes = walk.labels.solve()
        weights = [PositionWeights(classes, seed) for seed in _SEEDS]
        wrong = [d for d in _contradictions(walk, weights) if _is_free(classes, d)]
        if not wrong:
            return classes
        for demand in wrong:
            cause = Cause(demand.node, "a size that is computed would not follow")
            for labels in (demand.labels, *demand.size.labels):
                walk.labels.freeze(labels, cause)


def _contradictions(walk: Walk, weights: list[PositionWeights]) -> list[Demand]:
    """Demands that some pruning would break: those of one stored number have to agree."""
    wrong = []
    first: dict[ConstantOrigin, Demand] = {}
    for demand in walk.demands:
        size = demand.size
        if size.origin is not None and size.origin not in walk.fixed:
            other = first.setdefault(size.origin, demand)
            if not _agree([w.total(other.labels) for w in weights], demand, weights):
                wrong += [other, demand]
            continue
        formula = size.formula
        if formula is None or not _agree([formula(w) for w in weights], demand, weights):
            wrong.append(demand)
    return wrong


def _agree(expected: list[float], demand: Demand, weights: list[PositionWeights]) -> bool:
    totals = [w.total(demand.labels) for w in weights]
    return np.allclose(totals, expected, rtol=_CLOSE, atol=_CLOSE)


def _is_free(classes: Classes, demand: Demand) -> bool:
    involved = (demand.labels, *demand.size.labels)
    return any((classes.of(labels) >= 0).any() for labels in involved)


def choose_again(walk: Walk, classes: Classes, choices: dict[Choice, int]) -> bool:
    """Take the next way wherever all that a way couples turned out to be frozen.

    Where it was frozen by another choice that is taken again, that one alone comes first.
    """
    useless = {c: _causes(walk, classes, c) for c in walk.offered if _is_useless(walk, classes, c)}
    nodes = {node for node, _ in useless}
    first = [c for c, causes in useless.items() if not causes <= nodes - {c[0]}]
    for choice in first or useless:
        choices[choice] = choices.get(choice, 0) + 1
    return bool(useless)


def _is_useless(walk: Walk, classes: Classes, choice: Choice) -> bool:
    watched = walk.watched[choice]
    if walk.chosen(choice) + 1 >= walk.offered[choice] or not watched:
        return False
    return all((classes.of(labels) < 0).all() for labels in watched)


def _causes(walk: Walk, classes: Classes, choice: Choice) -> set[str]:
    indices = np.concatenate([classes.cause_of(labels) for labels in walk.watched[choice]])
    return {walk.labels.causes[index].node for index in np.unique(indices)}
