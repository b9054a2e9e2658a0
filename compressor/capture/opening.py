"""Which sizes of a module's inputs are open, found by running it at others than those of the data.

Samples that are all padded to 64 tokens say nothing of the model: one that runs at other lengths
takes them as an artifact too. Sizes that only move together are one size: ids and their mask. A
size that moves with two others is their sum: a mask over a cache and what comes behind it.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace

from compressor.capture.inputs import Inputs, sized
from compressor.capture.relations import Evaluate, other_size, runs
from compressor.graph.tensors import Dimension, TensorSpec
from compressor.system.stopwatch import Stopwatch

Axis = tuple[str, int]
"""An input and one of its axes."""

_MOST_RUNS = 120
_SECONDS = 40.0
"""What the search may take of runs and of time; what it has not tried then stays fixed."""

_LEAST_TRACED = 2


def opened(
    evaluate: Evaluate,
    inputs: Inputs,
    fixed: frozenset[Axis],
    varied: frozenset[str] = frozenset(),
) -> Inputs:
    """Inputs with names for the lengths on which the source does not insist.

    Sizes of pictures stay those of the samples, unless those differ: see `other_pictures`.

    Args:
        evaluate: Runs the source.
        inputs: The inputs with samples, at whose sizes it runs.
        fixed: Axes whose size the user gave.
        varied: Inputs that the data has in several sizes.
    """
    axes = {
        (spec.name, axis): size
        for spec in inputs.specs
        for axis, size in enumerate(spec.shape)
        if axis and isinstance(size, int) and (spec.name, axis) not in fixed
    }
    search = _Search(evaluate, inputs, axes, varied)
    return sized(search.named(), inputs.samples, inputs.batch) if search.moves() else inputs


def other_pictures(evaluate: Evaluate, inputs: Inputs, fixed: frozenset[Axis]) -> TensorSpec | None:
    """An input of pictures with names for its sizes, where the source runs at others as well."""
    for spec in inputs.specs:
        sizes = [d for d in spec.shape[2:] if isinstance(d, int)]
        given = any((spec.name, axis) in fixed for axis in range(2, len(spec.shape)))
        if not _is_picture(spec) or given or len(sizes) < len(spec.shape) - 2:
            continue
        larger = replace(spec, shape=(*spec.shape[:2], *(2 * size for size in sizes)))
        specs = tuple(larger if other is spec else other for other in inputs.specs)
        if runs(evaluate, replace(inputs, specs=specs)):
            names = ("h", "w") if len(sizes) == 2 else tuple(f"d{i}" for i in range(len(sizes)))
            return replace(spec, shape=(*spec.shape[:2], *names))
    return None


def _is_picture(spec: TensorSpec) -> bool:
    return len(spec.shape) > 3 and spec.dtype.kind not in "iub"


def traceable(evaluate: Evaluate, inputs: Inputs) -> Inputs:
    """Inputs with other sizes for those that exporters take for constants: 0 and 1."""
    small = [symbol for symbol in inputs.others if inputs.sizes[symbol] < _LEAST_TRACED]
    found = inputs.resized({symbol: other_size(inputs.sizes[symbol]) for symbol in small})
    return found if small and runs(evaluate, found) else inputs


class _Search:
    def __init__(
        self,
        evaluate: Evaluate,
        inputs: Inputs,
        axes: Mapping[Axis, int],
        varied: frozenset[str],
    ) -> None:
        self._evaluate, self._inputs, self._axes = evaluate, inputs, axes
        self._left = _MOST_RUNS
        self._watch = Stopwatch()
        self._found = list[tuple[Axis, ...]]()
        pictures = {spec.name for spec in inputs.specs if _is_picture(spec)}
        self._pictures, self._varied = pictures - varied, varied
        self._has_tokens = any(spec.dtype.kind in "iu" for spec in inputs.specs)

    def moves(self) -> list[tuple[Axis, ...]]:
        """Sets of axes at other sizes of which the source runs; all of them at once, too."""
        self._try_masks()
        self._try_caches()
        for axis in self._axes:
            if axis[0] not in self._pictures and not self._in_one(axis):
                self._try((axis,))
        for group in self._groups():
            rest = tuple(
                axis for axis in group if not self._in_one(axis) and axis[0] not in self._pictures
            )
            if len(rest) > 1:
                self._try(rest)
        alone = {axes[0] for axes in self._found if len(axes) == 1}
        for group in self._groups(by_place=True):
            if len(group) > 1 and self._has_tokens and not self._in_one(group[0]):
                self._try(group)  # a cache without a mask over it
            for axis in self._axes:
                if self._in_one(group[0]):
                    break
                if axis not in group and axis not in alone and axis[0] not in self._pictures:
                    self._try((*group, axis))
        while self._found and not self._runs_at_once():
            self._found.pop()
        return self._found

    def _runs_at_once(self) -> bool:
        """Whether all that was found moves together: asked even where the search has ended."""
        self._left, self._watch = len(self._found) + 1, Stopwatch()
        return self._runs([axis for axes in self._found for axis in axes])

    def _try_caches(self) -> None:
        """What the data has in several sizes and has no tokens to count it: the caches of layers.

        They come before single sizes, of which many layers have more than there is time for.
        """
        for group in self._groups(by_place=True):
            if len(group) < 2 or not self._has_tokens or self._in_one(group[0]):
                continue
            if {name for name, _ in group} <= self._varied and not self._runs(group[:1]):
                self._try(group)

    def _try_masks(self) -> None:
        """Tokens with what counts them, first: modules cut a mask that is longer than it should."""
        tokens = [axis for axis in self._axes if self._is_tokens(axis)]
        for size in dict.fromkeys(self._axes[axis] for axis in tokens):
            group = tuple(axis for axis in tokens if self._axes[axis] == size)
            if len(group) > 1:
                self._try(group)
        caches = [g for g in self._groups(by_place=True) if len(g) > 1 and g[0] not in tokens]
        for cache in caches:
            for mask in tokens:
                part = self._axes[mask] - self._size(cache)
                parts = [axis for axis in tokens if axis != mask and self._axes[axis] == part]
                if not parts or not self._runs((*cache, mask)):
                    continue
                if self._in_one(mask) or self._runs((*parts, mask)):
                    self._found.append((*cache, mask))
                    self._try((*parts, mask))
                    return

    def _is_tokens(self, axis: Axis) -> bool:
        spec = next(spec for spec in self._inputs.specs if spec.name == axis[0])
        return spec.dtype.kind in "iub" and axis[1] == 1 and len(spec.shape) == 2

    def named(self) -> tuple[TensorSpec, ...]:
        """The specifications with names for what moves."""
        names = dict[tuple[Axis, ...], str]()
        for axes in self._found:
            names[axes] = self._name(axes, set(names.values()))

        def dim(axis: Axis, size: Dimension) -> Dimension:
            own = [axes for axes in self._found if axis in axes]
            rest = (size if isinstance(size, int) else 0) - sum(self._size(axes) for axes in own)
            if not own:
                return size
            if len(own) == 1:
                return names[own[0]] if self._sole(own[0], axis) else _sum([names[own[0]]], rest)
            return _sum([names[axes] for axes in own], rest)

        return tuple(
            replace(spec, shape=tuple(dim((spec.name, a), d) for a, d in enumerate(spec.shape)))
            for spec in self._inputs.specs
        )

    def _sole(self, axes: tuple[Axis, ...], axis: Axis) -> bool:
        return self._axes[axis] == self._size(axes)

    def _size(self, axes: tuple[Axis, ...]) -> int:
        return self._axes[axes[0]]

    def _name(self, axes: tuple[Axis, ...], taken: set[str]) -> str:
        tokens = [self._is_tokens(axis) for axis in axes]
        ranks = {spec.name: len(spec.shape) for spec in self._inputs.specs}
        cached = any(ranks[name] > 2 for name, _ in axes)
        whole = all(self._sole(axes, axis) for axis in axes)  # its mask covers nothing else
        cached, tokens = cached and not whole, [] if cached and whole else tokens
        said = "" if not any(tokens) else "past" if cached else "sequence"
        if all(ranks[name] > 2 and _is_of_cache(name) for name, _ in axes):
            said = "past"
        name, axis = axes[0]
        return said if said and said not in taken else f"{name}_dim{axis}"

    def _groups(self, by_place: bool = False) -> Iterator[tuple[Axis, ...]]:
        """Axes of equal sizes: of every input, or of the same place in inputs of the same rank."""
        ranks = {spec.name: len(spec.shape) for spec in self._inputs.specs}
        groups = defaultdict[object, list[Axis]](list)
        for axis, size in self._axes.items():
            if by_place:
                groups[ranks[axis[0]], axis[1], size].append(axis)
            else:
                groups[size].append(axis)
        for group in groups.values():
            if by_place:
                yield from ((axis,) for axis in group if len(group) > 1 and ranks[axis[0]] == 2)
            yield tuple(group)

    def _in_one(self, axis: Axis) -> bool:
        return any(axis in axes for axes in self._found)

    def _try(self, axes: tuple[Axis, ...]) -> None:
        if set(axes) not in map(set, self._found) and self._runs(axes):
            self._found.append(axes)

    def _runs(self, axes: tuple[Axis, ...] | list[Axis]) -> bool:
        """Whether the source runs with each of the sizes changed by as much, smaller or larger."""
        sizes = [self._axes[axis] for axis in axes]
        for change in dict.fromkeys((other_size(min(sizes)) - min(sizes), max(2, min(sizes)))):
            if self._left <= 0 or self._watch.seconds > _SECONDS:
                return False
            self._left -= 1
            if runs(self._evaluate, self._moved(axes, change)):
                return True
        return False

    def _moved(self, axes: tuple[Axis, ...] | list[Axis], change: int) -> Inputs:
        """Twice in a list is changed twice, as a sum is by both of its parts."""
        return replace(
            self._inputs,
            specs=tuple(
                replace(
                    spec,
                    shape=tuple(
                        d + change * axes.count((spec.name, a)) if isinstance(d, int) else d
                        for a, d in enumerate(spec.shape)
                    ),
                )
                for spec in self._inputs.specs
            ),
        )


def _is_of_cache(name: str) -> bool:
    """Whether an input is called as those are that hold what came before."""
    return any(word in name.casefold() for word in ("past", "cache"))


def _sum(names: list[str], rest: int) -> str:
    constant = [] if not rest else [f"+{rest}" if rest > 0 else str(rest)]
    return "+".join(names) + "".join(constant)
