"""The flags of `compress` as keyword arguments of Python, typed, and errors in their words.

    compress("model.pt", calibration="calib.npz", max_drop="1%", quantize="int8")

A keyword is a flag with underscores: `--max-drop 1%` is `max_drop="1%"`. What a flag has in Python
already under another name keeps that: `--calib` is `calibration`, `--eval` is `evaluation`.
"""

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

from compressor.cli.places import PLACES
from compressor.errors import RecipeError, UsageError
from compressor.recipe.effort import EFFORTS
from compressor.recipe.reading import load_recipe
from compressor.recipe.recipe import Recipe


class Options(TypedDict, total=False):
    """Keyword arguments of `compress` that mirror its flags; `compress --help` explains each."""

    model_factory: str
    model_args: Mapping[str, Any]
    state_key: str
    task: str
    trust_pickle: bool
    inputs: Sequence[str]
    noise: str
    samples: int
    tokenizer: str | Path
    layout: str
    scale: float | str
    mean: Sequence[float]
    std: Sequence[float]
    image_size: int | tuple[int, int]
    crop: float
    interpolation: str
    fit: str
    quantize: str
    ranges: str
    stats: str | Path
    cache: str | Path
    reuse: bool
    cpu: str
    activation: str
    symmetric: bool
    weight_bits: int
    granularity: str
    calib_batch: int
    memory: str | int
    keep_slower: bool
    keep_ruined: bool
    kv_cache: str
    tokens: str
    prune: str
    params: str
    speedup: str
    latency: str
    size: str
    prune_threshold: str
    prune_method: str
    prune_loss: str
    prune_round: int
    prune_least: float | str
    prune_leave: Sequence[str]
    prune_blocks: bool
    sparsity: str
    train: str
    train_data: str | Path
    attention: str
    exits: int
    device: str
    batch: int
    threads: int
    phase: str
    context: int
    metric: str
    radius: float | str
    output_metric: str
    measure_seconds: float
    measure_memory: bool
    seed: int
    package: str
    effort: str
    max_drop: str
    budget: str
    time_budget: str


class FrontOptions(Options, total=False):
    """Those of `compressor.search`, which mirror the flags of `compress search`."""

    objectives: Sequence[str]
    sampler: str
    trials: int
    limits: Sequence[str]
    validation: str
    warm_start: bool
    storage: str
    study: str
    pick: str


_NAMES = {"budget": "accept"}
"""Flag → what the command calls its value, where that differs."""
_OTHERWISE = {
    "calib": "calibration", "eval": "evaluation", "graphs": "a mapping of models", "model": "model",
}  # fmt: skip
"""Flags that have another name in Python."""


def recipe_with(recipe: Recipe | None, options: Mapping[str, Any]) -> Recipe | None:
    """A recipe with keyword arguments laid over it.

    Args:
        recipe: What is asked for beside them; None for the defaults.
        options: Keyword → value, as of `Options`; None stands for one that was not given.

    Raises:
        UsageError: There is no such option.
        RecipeError: A value is not valid; the message has the keyword and what is allowed.
    """
    given = {name: value for name, value in options.items() if value is not None}
    if not given:
        return recipe
    effort = given.pop("effort", None)
    if effort is not None and effort not in EFFORTS:
        raise UsageError(f"effort={effort!r}: expected one of {', '.join(EFFORTS)}")
    document: dict[str, Any] = {}
    for name, value in given.items():
        place = _place(name)
        section = document
        for key in place[:-1]:
            section = section.setdefault(key, {})
        section[place[-1]] = _sizes(value) if name == "image_size" else value
    base = {} if recipe is None else _asked(recipe)
    try:
        return load_recipe(None, _merged(base, document), effort=effort)
    except RecipeError as error:
        own = "compress recipe" not in (error.hint or "compress recipe")
        hint = error.hint if own else _HINT
        raise RecipeError(_in_keywords(error.message, given), hint=hint) from error


_HINT = "`compress --help` explains every option, `compress recipe` prints them with their values."


def _place(name: str) -> tuple[str, ...]:
    known = {**PLACES, **{flag: PLACES[own] for flag, own in _NAMES.items()}}
    if name in known and name not in _OTHERWISE:
        return known[name]
    if name in _OTHERWISE:
        raise UsageError(f"option {name!r} is called {_OTHERWISE[name]!r} in Python")
    names = [*known, "calibration", "evaluation", "output", "plan", "recipe", "target"]
    close = difflib.get_close_matches(name, names, n=1)
    raise UsageError(
        f"there is no option {name!r}",
        hint=f"Did you mean {close[0]!r}?" if close else "`compress --help` lists all of them.",
    )


def _asked(recipe: Recipe) -> dict[str, Any]:
    """What was set of a recipe; live objects in it stay what they are."""
    return {
        name: value.model_dump(exclude_unset=True) if hasattr(value, "model_dump") else value
        for name, value in recipe
        if name in recipe.model_fields_set
    }


def _in_keywords(message: str, given: Mapping[str, Any]) -> str:
    """The message with the keyword that it is about in place of a field of the recipe."""
    for name, value in given.items():
        field = ".".join(_place(name))
        for quoted in (repr(field), f"'{field}."):
            if quoted in message:
                _, _, said = message.partition(": ")
                _, _, said = said.partition(": ")
                return f"{name}={value!r}: {said}"
    plain = message.replace("the command line: ", "")
    about = next((name for name, value in given.items() if repr(value) in plain), None)
    return plain if about is None else f"{about}={given[about]!r}: {plain}"


def _sizes(value: Any) -> Any:
    return (value, value) if isinstance(value, int) else value


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        known = merged.get(key)
        both = isinstance(known, dict) and isinstance(value, dict)
        merged[key] = _merged(known, value) if both and isinstance(known, dict) else value
    return merged
