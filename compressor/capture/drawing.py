"""What a torch source draws, given to it: so that two runs are equal, and a graph can be compared.

Every operator that draws is computed from the standard numbers that the graph gets as inputs (of
`compressor.graph.draws`, by seed and shape), by the formulas of `compressor.graph.drawing_forms`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from compressor.graph.draws import Draw, Kind

Drawn = Callable[[Kind, Sequence[int]], torch.Tensor]
"""Standard numbers of a kind and a shape."""


@contextmanager
def drawn_by(seed: int) -> Iterator[None]:
    """Whatever torch draws meanwhile is a function of the seed, the kind and the shape.

    What has no formula here is drawn by torch, seeded, and in the order of the calls.
    """
    with torch.random.fork_rng(devices=[]), _Drawing(seed):
        torch.manual_seed(seed)
        yield


class _Drawing(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Computes operators that draw."""

    def __init__(self, seed: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._seed = seed

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        del types
        given = dict(kwargs or {})
        space, _, name = func._schema.name.partition("::")
        if space != "aten" or name not in _OPERATORS or "out" in given:
            return func(*args, **given)
        named = dict(zip((one.name for one in func._schema.arguments), args, strict=False))
        return _OPERATORS[name](self._drawn, {**_defaults(func), **given, **named})

    def _drawn(self, kind: Kind, shape: Sequence[int]) -> torch.Tensor:
        array = Draw(kind).array(tuple(shape), np.dtype(np.float32), [self._seed])
        return torch.from_numpy(np.array(array))


def _defaults(func: Any) -> dict[str, Any]:
    return {
        one.name: one.default_value for one in func._schema.arguments if one.has_default_value()
    }


def _typed(value: torch.Tensor, given: Mapping[str, Any]) -> torch.Tensor:
    """The value in the type asked for, else that of what it is like, else torch's own."""
    like = given.get("self")
    other = like.dtype if isinstance(like, torch.Tensor) else torch.get_default_dtype()
    return value.to(given.get("dtype") or other)


def _shape(given: Mapping[str, Any]) -> Sequence[int]:
    size = given.get("size")
    return list(size) if size is not None else list(given["self"].shape)


def _standard(kind: Kind) -> Callable[[Drawn, dict[str, Any]], torch.Tensor]:
    return lambda drawn, given: _typed(drawn(kind, _shape(given)), given)


def _normal(drawn: Drawn, given: dict[str, Any]) -> torch.Tensor:
    mean, std = given.get("mean", 0.0), given.get("std", 1.0)
    like = next((one for one in (mean, std) if isinstance(one, torch.Tensor)), None)
    if isinstance(mean, torch.Tensor) and isinstance(std, torch.Tensor):
        like = mean + torch.zeros_like(std)
    shape = _shape(given) if like is None else list(like.shape)
    value = drawn("normal", shape) * std + mean
    return _typed(value, given if like is None else {"self": like})


def _normal_in_place(drawn: Drawn, given: dict[str, Any]) -> torch.Tensor:
    return _filled(given, drawn("normal", _shape(given)) * given["std"] + given["mean"])


def _uniform_in_place(drawn: Drawn, given: dict[str, Any]) -> torch.Tensor:
    low, high = given["from"], given["to"]
    return _filled(given, drawn("uniform", _shape(given)) * (high - low) + low)


def _exponential_in_place(drawn: Drawn, given: dict[str, Any]) -> torch.Tensor:
    return _filled(given, -torch.log(drawn("uniform", _shape(given))) / given["lambd"])


def _bernoulli(drawn: Drawn, given: dict[str, Any]) -> torch.Tensor:
    chance = given["p"] if given.get("p") is not None else given["self"]
    found: torch.Tensor = drawn("uniform", given["self"].shape) < chance
    return found.to(given["self"].dtype)


def _bernoulli_in_place(drawn: Drawn, given: dict[str, Any]) -> torch.Tensor:
    return _filled(given, _bernoulli(drawn, given))


def _native_dropout(drawn: Drawn, given: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    value, ratio = given["input"], given["p"]
    if given["train"] is False or not ratio:
        return value.clone(), torch.ones_like(value, dtype=torch.bool)
    mask = drawn("uniform", value.shape) < 1 - ratio
    return value * mask / (1 - ratio), mask


def _randint(drawn: Drawn, given: dict[str, Any]) -> torch.Tensor:
    low, high = given.get("low", 0), given["high"]
    value = torch.floor(drawn("uniform", _shape(given)) * (high - low) + low)
    like = given.get("self")
    asked = given.get("dtype")  # the default is a number of torch's own
    dtype = asked if isinstance(asked, torch.dtype) else None
    return value.to(dtype or (torch.int64 if like is None else like.dtype))


def _multinomial(drawn: Drawn, given: dict[str, Any]) -> torch.Tensor:
    chances = given["self"]
    rows = chances.reshape(-1, chances.shape[-1]).float()
    limits = torch.cumsum(rows / rows.sum(1, keepdim=True), 1)[:, :-1]
    numbers = drawn("uniform", [len(rows), given["num_samples"]])
    found = (numbers[:, :, None] >= limits[:, None, :]).sum(2)
    return found.reshape(*chances.shape[:-1], given["num_samples"])


def _filled(given: dict[str, Any], value: torch.Tensor) -> torch.Tensor:
    filled: torch.Tensor = given["self"].copy_(value)
    return filled


_OPERATORS: dict[str, Callable[[Drawn, dict[str, Any]], Any]] = {
    "randn": _standard("normal"),
    "randn_like": _standard("normal"),
    "rand": _standard("uniform"),
    "rand_like": _standard("uniform"),
    "normal": _normal,
    "normal_": _normal_in_place,
    "uniform_": _uniform_in_place,
    "exponential_": _exponential_in_place,
    "bernoulli": _bernoulli,
    "bernoulli_": _bernoulli_in_place,
    "native_dropout": _native_dropout,
    "randint": _randint,
    "randint_like": _randint,
    "multinomial": _multinomial,
}
