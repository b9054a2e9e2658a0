"""Groups: channels, heads and hidden units of any graph that have to be removed together.

Sources: Fang et al., DepGraph (CVPR 2023); Wang et al., SPA (arXiv 2403.18955), section 3. Labels
on every dimension, joined by union-find, need no case for each kind of block: what an operator
couples is in the one class.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from compressor.graph.concrete import concrete_shapes
from compressor.graph.invariants import subgraphs
from compressor.graph.tensors import Arrays
from compressor.pruning.coupling.canonical import canonical
from compressor.pruning.coupling.computed import computed_sizes
from compressor.pruning.coupling.dimensions import NO_FEATURE, Choice, UnknownShapeError, Walk
from compressor.pruning.coupling.labels import Cause, Classes, Ints
from compressor.pruning.coupling.rules import rule_of
from compressor.pruning.coupling.rules.opaque import control_flow
from compressor.pruning.coupling.settling import choose_again, settle
from compressor.pruning.coupling.sizes import ConstantOrigin

Keep = Mapping[str, npt.NDArray[np.bool_]]
"""Group name → (units,), True stays; groups that are not named stay whole."""

_BATCH = 2
"""Samples in the run that shapes are of: a batch of one hides what broadcasts."""

_STRANGE = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""What a rule raises where a graph runs, and does what no exporter lets it do."""
_MOST_ROUNDS = 24

_WHOLE = "all its positions are coupled with each other"


@dataclass(frozen=True, eq=False)
class Member:
    """An axis of a value or initializer that shrinks with a group.

    Attributes:
        value: Its name in the main graph.
        axis: The axis, not negative.
        positions: (units, k): the positions along the axis of each unit.
    """

    value: str
    axis: int
    positions: Ints


@dataclass(frozen=True, eq=False)
class Group:
    """Channels, heads or hidden units: unit u of every member goes at once.

    Attributes:
        name: The node that makes them first, with `#2` and so on where a node makes several.
        units: How many there are.
        members: Initializers and activations, in the order of the graph.
        nodes: Names of those that make its activations or read its initializers.
    """

    name: str
    units: int
    members: tuple[Member, ...]
    nodes: frozenset[str] = frozenset()

    def is_left(self, patterns: Sequence[str]) -> bool:
        """Whether any of its names matches one of the patterns of what stays whole."""
        names = {self.name, *self.nodes, *(member.value for member in self.members)}
        return any(fnmatchcase(name, pattern) for pattern in patterns for name in names)


@dataclass(frozen=True)
class Frozen:
    """An axis of an initializer with positions that cannot go, and the first node to forbid it.

    Attributes:
        positions: How many of them.
    """

    value: str
    axis: int
    node: str
    reason: str
    positions: int


@dataclass(frozen=True)
class SizeEdit:
    """A stored number that becomes the kept size of an axis of a value."""

    origin: ConstantOrigin
    value: str
    axis: int


@dataclass(frozen=True, eq=False)
class Grouping:
    """The prunable groups of a model, and why the rest stays.

    Attributes:
        groups: The groups, in the order of the graph.
        frozen: Axes of initializers that cannot shrink, or not wholly.
        unknown: Operators without a rule: `domain::Op (nodes)`.
        shapes: The shapes it was found with, by value name.
        edits: Sizes to rewrite when the graph is cut.
    """

    groups: tuple[Group, ...]
    frozen: tuple[Frozen, ...]
    unknown: tuple[str, ...]
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict, repr=False)
    edits: tuple[SizeEdit, ...] = ()

    def group(self, name: str) -> Group:
        """The group of that name.

        Raises:
            KeyError: There is none.
        """
        return next(group for group in self.groups if group.name == name)


def find_groups(model: ir.Model, feeds: Arrays | None = None) -> Grouping:
    """Find what can be removed from the main graph, functions inlined.

    Names are those of `canonical(model)`, which for a folded model are its own.

    Args:
        model: The model; stays as it is.
        feeds: Inputs of two samples or so, which tell all shapes; without any, the declared input
            shapes have to suffice.
    """
    concrete = concrete_shapes(canonical(model), feeds, _BATCH)
    graph, shapes = concrete.model.graph, concrete.shapes
    opset = concrete.model.opset_imports.get("", 1)
    choices: dict[Choice, int] = {}
    rounds = 0
    while True:
        walk = Walk(graph, shapes, opset, choices)
        _label(walk)
        classes = settle(walk)
        rounds += 1
        if rounds == _MOST_ROUNDS or not choose_again(walk, classes, choices):
            break
    groups, alone = _groups(walk, classes)
    return Grouping(
        groups=groups,
        frozen=_frozen(walk, classes) + alone,
        unknown=tuple(f"{kind} ({', '.join(nodes)})" for kind, nodes in walk.unknown.items()),
        shapes=shapes,
        edits=_edits(walk, classes),
    )


def _label(walk: Walk) -> None:
    for node in walk.graph:
        walk.enter(node)
        if _computes_sizes(walk, node):
            continue
        rule = rule_of(node)
        for index, read in enumerate(node.inputs):
            if rule is None or index not in rule.sizes:
                walk.consume(read)
        try:
            if rule is None:
                walk.unknown[f"{node.domain or 'ai.onnx'}::{node.op_type}"].append(node.name or "")
                walk.freeze_all(node, f"{node.op_type} has no rule")
            elif any(True for _ in subgraphs(node)):
                control_flow(walk, node)
            else:
                rule.label(walk, node)
        except UnknownShapeError:
            walk.freeze_all(node, f"a shape at this {node.op_type} is not known")
        except _STRANGE:
            walk.freeze_all(node, f"the rule of {node.op_type} does not know this form of it")
    walk.finish()


def _computes_sizes(walk: Walk, node: ir.Node) -> bool:
    """Whether a node's output could be followed as sizes, which are labelled and kept then."""
    try:
        sizes = computed_sizes(walk, node)
        if sizes is None:
            return False
        value = node.outputs[0]
        walk.give(value, [walk.frozen(n, "a size") for n in sizes.shape])
    except (UnknownShapeError, *_STRANGE):
        return False
    walk.sizes[value.name or ""] = sizes
    return True


def _groups(walk: Walk, classes: Classes) -> tuple[tuple[Group, ...], tuple[Frozen, ...]]:
    """Classes that occur in the same members, equally often, are the units of one group.

    What is a single unit, and all of an axis, cannot go and is frozen.
    """
    members, roots, member, position = _occurrences(walk, classes)
    order = np.lexsort((position, member, roots))
    roots, member, position = roots[order], member[order], position[order]
    starts = np.flatnonzero(np.diff(roots, prepend=-1))
    units: dict[bytes, list[int]] = {}
    for start, end in pairwise([*starts, len(roots)]):
        units.setdefault(member[start:end].tobytes(), []).append(int(start))
    producers = {v.name or "": node.name or "" for node in walk.graph for v in node.outputs}
    nodes = _nodes(walk.graph)
    found, alone, taken = [], list[Frozen](), dict[str, int]()
    for pattern, firsts in units.items():
        which = np.frombuffer(pattern, np.int64)
        table = position[np.array(firsts)[:, None] + np.arange(len(which))]
        axes = [
            Member(name, axis, np.ascontiguousarray(table[:, which == index]))
            for index in np.unique(which)
            for name, axis in [members[index]]
        ]
        weights = [axis for axis in axes if axis.value in walk.graph.initializers]
        made = next((producers[a.value] for a in axes if a.value in producers), None)
        if not weights or made is None:
            continue
        if _whole(walk, axes):
            alone += [Frozen(a.value, a.axis, made, _WHOLE, a.positions.size) for a in weights]
            continue
        taken[made] = taken.get(made, 0) + 1
        name = made if taken[made] == 1 else f"{made}#{taken[made]}"
        own = frozenset[str]().union(*(nodes[axis.value] for axis in axes))
        found.append(Group(name, len(firsts), tuple(axes), own))
    return tuple(found), tuple(alone)


def _nodes(graph: ir.Graph) -> Mapping[str, set[str]]:
    """Value → the node that makes it; initializer → the nodes that read it."""
    found: dict[str, set[str]] = defaultdict(set)
    for node in graph:
        read = (value for value in node.inputs if value is not None and value.is_initializer())
        for value in (*node.outputs, *read):
            found[value.name or ""].add(node.name or "")
    return found


def _occurrences(walk: Walk, classes: Classes) -> tuple[list[tuple[str, int]], Ints, Ints, Ints]:
    """Where free classes lie: the members, and for each occurrence its class, member, position."""
    members: list[tuple[str, int]] = []
    parts: list[tuple[Ints, Ints, Ints]] = []
    for name, axis, labels in _axes(walk):
        roots = classes.of(labels)
        at = np.flatnonzero(roots >= 0)
        if at.size:
            parts.append((roots[at], np.full(at.size, len(members)), at))
            members.append((name, axis))
    if not parts:
        empty = np.zeros(0, np.int64)
        return members, empty, empty, empty
    roots, member, position = (np.concatenate(column) for column in zip(*parts, strict=True))
    return members, roots, member, position


def _axes(walk: Walk) -> Iterator[tuple[str, int, Ints]]:
    for name, dimensions in walk.dimensions.items():
        for axis, labels in enumerate(dimensions):
            if len(labels) > 1:
                yield name, axis, labels


def _whole(walk: Walk, axes: list[Member]) -> bool:
    """Whether there is one unit and it is all of an axis, which cannot become empty."""
    return len(axes[0].positions) == 1 and any(
        axis.positions.size == len(walk.dimensions[axis.value][axis.axis]) for axis in axes
    )


def _frozen(walk: Walk, classes: Classes) -> tuple[Frozen, ...]:
    found = []
    for name, axis, labels in _axes(walk):
        if name not in walk.graph.initializers:
            continue
        causes = classes.cause_of(labels)
        for index, count in zip(*np.unique(causes[causes >= 0], return_counts=True), strict=True):
            cause: Cause = walk.labels.causes[index]
            if cause.reason not in NO_FEATURE:
                found.append(Frozen(name, axis, cause.node, cause.reason, int(count)))
    return tuple(found)


def _edits(walk: Walk, classes: Classes) -> tuple[SizeEdit, ...]:
    return tuple(
        dict.fromkeys(
            SizeEdit(demand.size.origin, demand.value, demand.axis)
            for demand in walk.demands
            if demand.size.origin is not None and (classes.of(demand.labels) >= 0).any()
        )
    )
