"""The loop that tells how fast the processor is."""

from compressor.evaluation.clocks import pace_of_process
from compressor.evaluation.pace import LoopPace


def test_the_shortest_loop_is_kept():
    ticks = iter(range(0, 10**6, 70))
    later = LoopPace(lambda: next(ticks))
    assert later.look() == later.fastest == 70
    times = iter([0, 50, 100, 190])
    later._clock = lambda: next(times)
    assert [later.look(), later.look()] == [50, 90]
    assert later.fastest == 50


def test_a_process_has_one_that_remembers():
    pace = pace_of_process()
    assert pace is pace_of_process()
    assert pace is None or 0 < pace.fastest <= pace.look()
