"""The zoo: small networks with random weights, each built like the large one whose name it bears.

A few hundred thousand parameters and two or three layers suffice: what pruning has to understand
is how a network is wired, not how wide it is.
"""

from networks.build import Network
from networks.classifiers import CLASSIFIERS
from networks.generators import GENERATORS
from networks.heads import HEADS
from networks.language import LANGUAGE
from networks.unets import UNETS
from networks.vision import VISION

HAND_WRITTEN: tuple[Network, ...] = (*CLASSIFIERS, *UNETS, *GENERATORS, *HEADS)
"""In plain torch."""

TRANSFORMERS: tuple[Network, ...] = (*LANGUAGE, *VISION)
"""From configurations of the transformers package."""

ZOO: tuple[Network, ...] = (*HAND_WRITTEN, *TRANSFORMERS)

__all__ = ["HAND_WRITTEN", "TRANSFORMERS", "ZOO", "Network"]
