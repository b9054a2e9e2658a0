"""What open sizes have to do with each other, found by running the source.

A file that Optimum wrote says `attention_mask[batch, total_sequence_length]`, and means the sum of
`past_sequence_length` and `sequence_length`; a denoiser's `timestep[steps]` is one or the batch.
Names suggest, runs decide: a size is led by others where the source runs at no other size than
theirs.
"""

from collections.abc import Callable, Iterator, Mapping
from itertools import combinations

from compressor.capture.inputs import SYMBOL_SIZES, Inputs
from compressor.errors import CaptureError
from compressor.graph.sizes import parse_size
from compressor.graph.tensors import Array

Evaluate = Callable[[Inputs], Mapping[str, Array]]
"""Runs the source on the arrays of some inputs; a CaptureError when it fails."""

_MOST_RUNS = 160
"""Runs of the source that a search for relations may take."""

_MOST_TIMES = 16
"""Up to so many entries a sample are looked for where no data tells."""


def runs(evaluate: Evaluate, inputs: Inputs) -> bool:
    """Whether the source runs at these sizes."""
    try:
        evaluate(inputs)
    except CaptureError:
        return False
    return True


def other_size(size: int) -> int:
    """Another size of the same kind: half of a large one, as strides divide it, else a larger."""
    return size // 2 if size >= 8 and size % 2 == 0 else size + 2


def free(evaluate: Evaluate, inputs: Inputs, symbol: str) -> bool:
    """Whether the source runs with another size for one name alone."""
    size = inputs.sizes[symbol]
    return any(
        runs(evaluate, inputs.resized({symbol: other}))
        for other in dict.fromkeys((other_size(size), 2 * size or 4))
    )


def related(evaluate: Evaluate, inputs: Inputs) -> Inputs:
    """Inputs with expressions for sizes that others lead.

    Args:
        evaluate: Runs the source.
        inputs: The inputs at sizes where the source runs, or at some.

    Returns:
        Inputs at which the source runs, where there are such; as they were where nothing leads.
    """
    budget = _Budget(evaluate)
    works = runs(evaluate, inputs)
    for candidates in (_sums, _equals):  # with an empty cache a total equals its part
        for symbol in _suspects(inputs):
            if symbol not in inputs.symbols:
                continue
            counts = candidates is _sums and _counts_others(inputs, symbol)
            if works and not counts and free(budget.evaluate, inputs, symbol):
                continue
            for expression in candidates(inputs, symbol):
                found = _with(inputs, symbol, expression, works)
                found = None if found is None else _holding(budget.evaluate, found, expression)
                if found is not None:
                    inputs, works = found, True
                    break
    return inputs


def single(evaluate: Evaluate, inputs: Inputs) -> Inputs:
    """Sizes of one for names that are all there is of an input, where the source runs at those.

    `timestep[steps]` broadcasts: its size is one, or that of the batch, which its name hides.
    """
    scalars = [s for s in inputs.others if any(spec.shape == (s,) for spec in inputs.specs)]
    return _at_one(evaluate, inputs, scalars)


def alone(evaluate: Evaluate, inputs: Inputs) -> Inputs:
    """Sizes of one for names that no other input has, where the source runs at those."""
    counts = [name for spec in inputs.specs for name in _names(spec.shape)]
    return _at_one(evaluate, inputs, [s for s in inputs.others if counts.count(s) == 1])


def one_sample(evaluate: Evaluate, inputs: Inputs) -> Inputs:
    """A batch of one, where the source runs at that and not at two.

    What makes something of the length that the data asks for, such as speech, often does so for
    one sample.
    """
    one = inputs.of(1)
    return one if runs(evaluate, one) else inputs


def scattered(batch: int, outputs: Mapping[str, Array], of_one: Mapping[str, Array]) -> bool:
    """Whether an output has other axes than for one sample, and no samples along its first.

    `x.squeeze(0)`, and `[None]` at the end, is meant for one sample: two of them run, and become
    something else. A head that squeezes all its axes of one has its samples along the first.

    Args:
        batch: How many samples there were, more than one.
        outputs: What the source made of them.
        of_one: What it makes of one.
    """
    return any(
        array.ndim != of_one[name].ndim and array.shape[:1] != (batch,)
        for name, array in outputs.items()
    )


def unbatched(evaluate: Evaluate, inputs: Inputs, outputs: Mapping[str, Array]) -> Inputs:
    """A batch of one, where that is what the source is meant for, though it runs with these.

    Args:
        evaluate: Runs the source.
        inputs: Inputs that it takes.
        outputs: What it made of them.
    """
    one = inputs.of(1)
    if one.sizes == inputs.sizes or all(a.shape[:1] == (inputs.batch,) for a in outputs.values()):
        return inputs
    try:
        of_one = evaluate(one)
    except CaptureError:
        return inputs
    return one if scattered(inputs.batch, outputs, of_one) else inputs


def multiples(evaluate: Evaluate, inputs: Inputs) -> Inputs:
    """Inputs with a leading size as so many times the batch, where the source runs so.

    Candidates to rank, `items[m, 64]` beside `x[n, 64]`, come several a sample: as many as the data
    has, else as many as the source takes at two batch sizes.
    """
    batch = inputs.batch_symbol
    if batch is None or batch in inputs.asked:
        return inputs
    leading = [s.shape[0] for s in inputs.specs if s.shape and s.shape[0] in inputs.others]
    budget = _Budget(evaluate)
    for symbol in dict.fromkeys(map(str, leading)):
        for factor in _factors(inputs, symbol, batch):
            found = inputs.related(symbol, f"{factor}*{batch}")
            if all(runs(budget.evaluate, found.of(inputs.batch + more)) for more in (0, 1)):
                return found
    return inputs


def _factors(inputs: Inputs, symbol: str, batch: str) -> Iterator[int]:
    """How many times the batch a leading size may be."""
    if not inputs.real:
        yield from range(2, _MOST_TIMES + 1)
        return
    lengths = {
        spec.shape[0]: len(inputs.samples[spec.name])
        for spec in inputs.specs
        if spec.shape and spec.name in inputs.samples and inputs.samples[spec.name].ndim
    }
    whole, samples = lengths.get(symbol, 0), lengths.get(batch, 0)
    if samples and whole > samples and whole % samples == 0:
        yield whole // samples


def _at_one(evaluate: Evaluate, inputs: Inputs, names: list[str]) -> Inputs:
    names = [name for name in names if name not in inputs.asked]
    candidate = inputs.resized(dict.fromkeys(names, 1))
    return candidate if names and runs(evaluate, candidate) else inputs


class _Budget:
    """Counts runs: a source that fails at everything is not tried for ever."""

    def __init__(self, evaluate: Evaluate) -> None:
        self._evaluate = evaluate
        self._left = _MOST_RUNS

    def evaluate(self, inputs: Inputs) -> Mapping[str, Array]:
        if self._left <= 0:
            raise CaptureError("the search for what sizes have to do with each other has ended")
        self._left -= 1
        return self._evaluate(inputs)


def _counts_others(inputs: Inputs, symbol: str) -> bool:
    """Whether a size is likely a total, though the source runs at others, as masks are cut."""
    masks = [s for s in inputs.specs if s.shape[1:] == (symbol,) and s.dtype.kind in "iub"]
    return bool(masks) or "total" in symbol.casefold()


def _says_total(inputs: Inputs, symbol: str, expression: str) -> bool:
    """Whether names alone say that a size is a cache and what comes behind it."""
    named = "total" in symbol.casefold() and symbol not in inputs.asked
    said = expression.casefold()
    return named and ("past" in said or "cache" in said) and "+" in expression


def _suspects(inputs: Inputs) -> list[str]:
    """Names that may be led by others: totals first, else those that come last."""
    others = inputs.others[::-1]
    return sorted(others, key=lambda name: "total" not in name.casefold())


def _sums(inputs: Inputs, symbol: str) -> Iterator[str]:
    pairs = combinations([name for name in inputs.others if name != symbol], 2)

    def likely(pair: tuple[str, str]) -> int:
        said = " ".join(pair).casefold()
        return -(("past" in said or "cache" in said) + ("seq" in said) - ("encoder" in said))

    yield from ("+".join(pair) for pair in sorted(pairs, key=likely))


def _equals(inputs: Inputs, symbol: str) -> Iterator[str]:
    others = [name for name in inputs.symbols if name != symbol]
    yield from others
    if inputs.batch_symbol is not None:
        yield from (f"{inputs.batch_symbol}*{n}" for n in others if n != inputs.batch_symbol)


def _with(inputs: Inputs, symbol: str, expression: str, works: bool) -> Inputs | None:
    """The relation written in, where it holds at the sizes at which the source runs."""
    value = parse_size(expression).evaluate(inputs.sizes)
    known = inputs.real or (works and not _says_total(inputs, symbol, expression))
    if known and value != inputs.sizes[symbol]:
        return None
    written = str(parse_size(expression))
    return inputs.related(symbol, written)


def _holding(evaluate: Evaluate, inputs: Inputs, expression: str) -> Inputs | None:
    """The inputs at sizes where the source runs as related, also where leading sizes change.

    Also of one sample alone: kernels of attention take a prompt behind a cache so only.
    """
    for candidate in _sizes_to_try(inputs):
        alone = candidate.of(1)
        found = next((one for one in (candidate, alone) if runs(evaluate, one)), None)
        if found is not None:
            names = parse_size(expression).names
            loose = all(free(evaluate, found, n) or free(evaluate, alone, n) for n in names)
            return found if loose else None
    return None


def _sizes_to_try(inputs: Inputs) -> Iterator[Inputs]:
    yield inputs
    for size in () if inputs.real else SYMBOL_SIZES:
        sizes = {name: size + 2 * i for i, name in enumerate(inputs.others)}
        yield inputs.resized({n: s for n, s in sizes.items() if n not in inputs.asked})


def _names(shape: tuple[object, ...]) -> list[str]:
    return [name for dim in shape if isinstance(dim, str) for name in parse_size(dim).names]
