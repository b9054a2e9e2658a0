"""A runner that others look over the shoulder of: it runs as it did, and its calls are seen."""

from collections.abc import Mapping

from compressor.graph.cache_notes import CacheNote
from exporters.base import PassingRunner


class Watched(PassingRunner):
    """A runner, passed through; who watches does so in `run`. What `bind` times is not seen."""

    @property
    def signature(self) -> object:
        """What the runner of a module knows of it; None for that of a graph."""
        return getattr(self.runner, "signature", None)

    @property
    def caches(self) -> Mapping[str, CacheNote]:
        """Those of integers that the runner shows as they are."""
        found: Mapping[str, CacheNote] = getattr(self.runner, "caches", {})
        return found
