"""Repairs are taken where both graphs, the samples and the aims are the same."""

from pathlib import Path

import numpy as np
from kept_sessions import Calls, graph, samples, session

from compressor.results.pruning import RepairRecord
from compressor.search.pruning.kept_repair import repaired_once

RECORD = RepairRecord(name="repair", seconds=1.0, changed={"layers": 1})


def test_a_repair_is_taken_with_its_record(tmp_path: Path):
    repair, one = Calls(({"scale/weight": np.ones(2, np.float32)}, RECORD)), session(tmp_path)
    for _ in range(2):
        weights, record = repaired_once(one, graph(), graph(2.0), samples(), {}, repair)
        assert np.array_equal(weights["scale/weight"], np.ones(2))
        assert record == RECORD
    assert repair.count == 1
    repaired_once(one, graph(), graph(3.0), samples(), {}, repair)
    repaired_once(one, graph(), graph(2.0), samples(1), {}, repair)
    repaired_once(one, graph(), graph(2.0), samples(), {"a": "b"}, repair)
    repaired_once(session(None), graph(), graph(2.0), samples(), {}, repair)
    assert repair.count == 5
