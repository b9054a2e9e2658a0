"""The zoo: small networks with random weights, each built like the large one whose name it bears.

A few hundred thousand parameters and two or three layers suffice: what pruning has to understand
is how a network is wired, not how wide it is.
"""

from networks.build import Network
from networks.classifiers import CLASSIFIERS
from networks.decoders import DECODERS
from networks.detectors import DETECTORS
from networks.encoders import ENCODERS
from networks.generators import GENERATORS
from networks.heads import HEADS
from networks.hybrids import HYBRIDS
from networks.language import LANGUAGE
from networks.makers import MAKERS
from networks.mobile import MOBILE
from networks.queries import QUERIES
from networks.readers import READERS
from networks.sets import SETS
from networks.sound import SOUND
from networks.tables import TABLES
from networks.unets import UNETS
from networks.vision import VISION

HAND_WRITTEN: tuple[Network, ...] = (
    *CLASSIFIERS,
    *MOBILE,
    *HYBRIDS,
    *DETECTORS,
    *UNETS,
    *READERS,
    *SOUND,
    *GENERATORS,
    *MAKERS,
    *TABLES,
    *SETS,
    *HEADS,
)
"""In plain torch."""

TRANSFORMERS: tuple[Network, ...] = (*LANGUAGE, *ENCODERS, *DECODERS, *VISION, *QUERIES)
"""From configurations of the transformers package."""

ZOO: tuple[Network, ...] = (*HAND_WRITTEN, *TRANSFORMERS)

__all__ = ["HAND_WRITTEN", "TRANSFORMERS", "ZOO", "Network"]
