"""How the evaluation samples that are searched on are used: at once, or in folds.

Nothing is fitted to them (ranges, rounding and repairs are of calibration data), so that folds are
disjoint samples of how good a recipe is. Their spread gives an interval also to metrics that have
no value per sample, and a recipe is given up after the first fold where that says enough.
"""

import re
from dataclasses import dataclass

from calibration.dataset import CalibrationSet
from compressor.errors import DataError, RecipeError

HOLDOUT = "holdout"
FIRST = 0.25
"""Share of the samples that a recipe is judged on first, where they are used at once."""
FEWEST_FIRST = 32
"""Samples below which there is no first look."""
_FOLDS = re.compile(r"(stratified-)?kfold:(\d+)")


@dataclass(frozen=True)
class Validation:
    """What --validation says.

    Attributes:
        folds: Into how many parts the samples are divided; 1 uses them at once.
        stratified: Whether each part has its share of every class.
    """

    folds: int = 1
    stratified: bool = False

    def __str__(self) -> str:
        if self.folds == 1:
            return HOLDOUT
        return f"{'stratified-' if self.stratified else ''}kfold:{self.folds}"


def parse_validation(text: str) -> Validation:
    """`holdout`, `kfold:5` or `stratified-kfold:5`.

    Raises:
        RecipeError: It is none of these.
    """
    if text == HOLDOUT:
        return Validation()
    match = _FOLDS.fullmatch(text)
    if match is None or int(match[2]) < 2:
        raise RecipeError(
            f"--validation {text!r}: expected {HOLDOUT}, kfold:K or stratified-kfold:K, K from 2",
            hint="Write --validation kfold:5.",
        )
    return Validation(int(match[2]), match[1] is not None)


def parts_of(data: CalibrationSet, how: Validation, seed: int) -> tuple[CalibrationSet, ...]:
    """The parts that recipes are judged on, one after the other; all of the samples together.

    Args:
        data: The samples.
        how: Into how many folds; at once with a first look at some where there are enough.
        seed: Divides them.

    Raises:
        DataError: There are too few samples, or no classes to stratify by.
    """
    if how.folds == 1:
        few = round(FIRST * len(data))
        return data.split(FIRST, seed) if few >= FEWEST_FIRST else (data,)
    if len(data) < 2 * how.folds:
        raise DataError(
            f"--validation {how} needs {2 * how.folds} samples to search on, found {len(data)}",
            hint="Pass more evaluation samples, or fewer folds.",
        )
    if how.stratified and not data.classes:
        raise DataError(
            f"--validation {how} needs labels that are classes, which the evaluation data lacks",
            hint=f"Pass labels, or --validation kfold:{how.folds}.",
        )
    return _folds(data, how, seed)


def _folds(data: CalibrationSet, how: Validation, seed: int) -> tuple[CalibrationSet, ...]:
    """Equal parts, split off one after the other."""
    rest, found = data, []
    for left in range(how.folds, 1, -1):
        one, rest = rest.split(1 / left, seed + left, stratified=how.stratified)
        found.append(one)
    return (*found, rest)
