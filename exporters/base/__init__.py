"""What a target is. Stages know a target only through these types.

A new target is one module `exporters/NAME.py` that ends in `TARGET = ...`; it is found by its
file name.
"""

from compressor.results.engine import Agreement, EngineBuild
from exporters.base.artifact import Artifact, Samples
from exporters.base.policy import QuantPolicy
from exporters.base.registry import find_target, target_names
from exporters.base.runner import Runner
from exporters.base.target import Target

__all__ = [
    "Agreement",
    "Artifact",
    "EngineBuild",
    "QuantPolicy",
    "Runner",
    "Samples",
    "Target",
    "find_target",
    "target_names",
]
