"""What data there is, and how it is read: the recipe's section [data]."""

from pathlib import Path

from pydantic import Field

from calibration.preprocess import Preprocess
from compressor.recipe.section import Positive, Section


class DataOptions(Section):
    """Calibration and evaluation data."""

    calib: str | None = Field(None, description="Calibration data: a path or file.py:function.")
    eval: str | None = Field(None, description="Evaluation data, with labels: likewise.")
    samples: Positive | None = Field(None, description="Draw so many calibration samples.")
    stats: Path | None = Field(
        None, description="Calibration statistics that `compress calibrate` wrote."
    )
    tokenizer: Path | None = Field(
        None,
        description="File of the package tokenizers, or a folder with one, by which texts become "
        "tokens; default: the one in the model's folder.",
    )
    cache: Path | None = Field(
        None,
        description="Folder that keeps captures, statistics, kernel times and decisions for later "
        "runs, by all that they depend on; default: in the user's cache folder.",
    )
    reuse: bool = Field(
        True, description="Whether anything is kept for later runs, and taken from earlier ones."
    )
    preprocess: Preprocess = Preprocess()
