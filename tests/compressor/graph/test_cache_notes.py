"""Notes of a cache in a model's metadata, which a stranger may have written."""

import pytest

from compressor.errors import CheckpointError
from compressor.graph.cache_notes import NOTE, CacheNote, read, written
from exporters.base.execution import Execution

CACHES = {"past": CacheNote("present", 0.5, 128, True)}


def test_a_note_is_read_as_it_was_written() -> None:
    assert read({NOTE: written(CACHES)}) == CACHES
    assert read({}) == {}


@pytest.mark.parametrize(
    "text",
    ["", "[]", "3", "{", '{"past": 1}', '{"past": {"output": "present"}}', "[" * 10**5,
     '{"past": {"output": 1, "scale": 0.5, "zero_point": 3, "transposed": true}}',
     '{"past": {"output": "p", "scale": "x", "zero_point": 3, "transposed": true}}',
     '{"past": {"output": "p", "scale": 1, "zero_point": 3.5, "transposed": true}}',
     '{"past": {"output": "p", "scale": 1, "zero_point": 3, "transposed": 1, "more": 2}}'],
)  # fmt: skip
def test_what_nothing_here_wrote_is_refused(text: str) -> None:
    with pytest.raises(CheckpointError, match="no note of a cache"):
        read({NOTE: text})


@pytest.mark.parametrize("text", ["", "[]", "{", '{"floats": 3}', '{"rounds": "x"}', '{"more": 1}'])
def test_likewise_of_how_a_graph_is_executed(text: str) -> None:
    with pytest.raises(CheckpointError, match="nothing that is known"):
        Execution.parsed(text)
