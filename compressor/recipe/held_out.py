"""Which samples choose the best moment of a training: none that a repair or the training sees."""

from calibration.dataset import CalibrationSet
from compressor.recipe.training import TrainOptions

SHARE = 1 / 8
MOST = 256


def held_out_of(
    data: CalibrationSet, options: TrainOptions, seed: int
) -> tuple[CalibrationSet, CalibrationSet]:
    """Divide the samples into (trained on, held out); by seed, class by class where they have such.

    Args:
        data: All of them, two or more.
        options: How many are held out, where that is said.
        seed: Of the division.

    Raises:
        DataError: There is one sample only.
    """
    total = len(data)
    wanted = options.held_out or min(MOST, max(1, round(SHARE * total)))
    return data.split(1 - min(wanted, total - 1) / max(total, 1), seed)
