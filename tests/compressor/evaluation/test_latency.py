"""Latencies on a machine that is made up: its clock, its scheduler, and the others on it."""

import gc
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest

from compressor.evaluation.clocks import Clocks, MachineTime, machine_time
from compressor.evaluation.latency import compare_latency, time_runner, verdict
from compressor.evaluation.load import Load
from compressor.evaluation.parts import race_of_parts
from compressor.evaluation.racing import race
from compressor.evaluation.rounds import MIN_ROUNDS, WANTED_ROUNDS
from compressor.graph.tensors import TensorSpec
from compressor.results.measurements import LatencyConfig, LatencyResult
from compressor.results.records import Interval
from exporters.base import find_target

MS = 1_000_000
ONE, TWO = LatencyConfig(batch=1, threads=1), LatencyConfig(batch=1, threads=2)
FEEDS = {"x": np.zeros((1, 2), np.float32)}
SLICE = 3 * MS


@dataclass
class Machine:
    """Two processors. Where others want the one we are on, each slice of ours costs one of theirs.

    Attributes:
        others: Processors' worth of work that others do, asked of the time.
        slowness: How much longer the same instructions take, asked of the time.
    """

    others: Callable[[float], float] = lambda now: 0.0
    slowness: Callable[[float], float] = lambda now: 1.0
    now: int = 0
    thread: int = 0
    process: int = 0
    busy: float = 0.0
    blocked: int = 0
    left: int = SLICE
    fastest: float = 50_000

    def look(self) -> float:
        """The loop, which no one but a neighbour on the core makes longer."""
        return self.fastest * self.slowness(self.now / 1e9)

    def work(self, nanoseconds: int, threads: int = 1) -> None:
        """Compute, and lose the processor at the end of each slice if others want it."""
        while nanoseconds > 0:
            done = min(nanoseconds, self.left)
            self._pass(done, own=done * threads)
            self.thread += done
            self.left -= done
            nanoseconds -= done
            if self.left == 0:
                if self.others(self.now / 1e9) >= 1:
                    self._pass(SLICE, own=0)
                self.left = SLICE

    def sleep(self, nanoseconds: int) -> None:
        """Wait for something else."""
        self.blocked += 1
        self._pass(nanoseconds, own=0)
        self.left = SLICE

    def _pass(self, nanoseconds: int, own: int) -> None:
        foreign = min(self.others(self.now / 1e9), 2.0)
        self.now += nanoseconds
        self.process += own
        self.busy += min(own / 1e9 + foreign * nanoseconds / 1e9, 2 * nanoseconds / 1e9)

    def wall(self) -> int:
        self.now += 40
        return self.now

    def clocks(self, *, fine: bool = True, told: bool = True) -> Clocks:
        return Clocks(
            wall=self.wall,
            thread=(lambda: self.thread) if fine else None,
            process=lambda: self.process,
            blocked=lambda: self.blocked,
            machine=lambda: MachineTime(self.busy, 0.0, 2) if told else None,
            throttled=lambda: None,
            pace=self,
        )


@dataclass
class Working:
    """A runner whose inference takes so many nanoseconds; writes down what happens."""

    machine: Machine
    nanoseconds: int
    log: list[str] = field(default_factory=list)
    name: str = ""
    threads: int = 1
    sleeps: bool = False
    opened: int = 0
    issues: float = 0.0
    """Share of its time that a neighbour makes longer."""

    @property
    def on_caller(self) -> bool:
        return self.threads == 1

    @property
    def inputs(self):
        return (TensorSpec("x", np.dtype(np.float32), (None, 2)),)

    def __enter__(self):
        self.opened += 1
        return self

    def __exit__(self, *raised):
        pass

    def bind(self, feeds):
        assert list(feeds) == ["x"]

        def run():
            self.log.append(self.name)
            assert not gc.isenabled()
            if self.sleeps:
                self.machine.sleep(self.nanoseconds)
            else:
                slower = 1 + self.issues * (self.machine.slowness(self.machine.now / 1e9) - 1)
                self.machine.work(int(self.nanoseconds * slower), self.threads)

        return run


def compare(
    a: float,
    b: float,
    machine: Machine | None = None,
    *,
    config: LatencyConfig = ONE,
    seconds: float = 0.5,
    fine: bool = True,
    told: bool = True,
    sleeps: bool = False,
    issues: tuple[float, float] = (0.0, 0.0),
) -> tuple[LatencyResult, str]:
    """Milliseconds of each against each other."""
    machine, log = machine or Machine(), []
    runners = (
        Working(machine, int(ms * MS), log, name, config.threads, sleeps, issues=share)
        for ms, name, share in zip((a, b), "ab", issues, strict=True)
    )
    found = compare_latency(
        *runners,
        FEEDS,
        config,
        deciding=True,
        seconds=seconds,
        clocks=machine.clocks(fine=fine, told=told),
    )
    return found, "".join(log)


def crowd(now: float) -> float:
    """Three burners."""
    return 3.0


def test_a_faster_result_is_faster():
    result, _ = compare(4, 2)
    assert result.speed == pytest.approx(2.0, rel=1e-3)
    assert result.speed in result.ends
    assert result.verdict == "faster"
    assert result.rounds >= WANTED_ROUNDS
    assert result.milliseconds == pytest.approx((4, 2), rel=1e-3)
    assert result.method == "cpu time"
    assert result.conditions is not None
    assert not result.conditions.busy
    assert gc.isenabled()


def test_a_slower_result_is_slower():
    result, _ = compare(2, 4)
    assert result.verdict == "slower"
    assert result.ends.high < 1


@pytest.mark.parametrize(("long", "short"), [(6.0, 1.8), (48.3, 13.3), (0.58, 0.225)])
def test_others_on_the_processor_change_no_ratio(long: float, short: float):
    result, _ = compare(long, short, Machine(crowd))
    assert result.speed == pytest.approx(long / short, rel=0.01)
    assert result.verdict == "faster"
    assert result.conditions is not None
    assert result.conditions.foreign == pytest.approx(0.75, abs=0.2)
    assert result.milliseconds == pytest.approx((long, short), rel=0.02)


def test_times_of_a_model_that_is_always_preempted_are_of_the_processor_and_say_so():
    result, _ = compare(6.0, 1.8, Machine(crowd))
    assert result.baseline is not None
    assert result.result is not None
    assert result.baseline.method == result.result.method == "cpu time"
    assert result.conditions is not None
    assert result.conditions.busy
    assert result.conditions.clean == 0


def test_a_busy_machine_makes_no_difference_of_equals_and_a_wider_interval():
    busy, _ = compare(6.0, 6.0, Machine(crowd))
    quiet, _ = compare(6.0, 6.0)
    assert busy.verdict == quiet.verdict == "no significant difference"
    assert busy.ends.high > quiet.ends.high == pytest.approx(1.03, rel=1e-3)


def test_it_ends_as_soon_as_more_rounds_would_gain_nothing():
    machine = Machine()
    compare(4, 2, machine, seconds=4.0)
    assert machine.now < 0.5e9


def test_slow_models_get_their_rounds_though_time_is_over():
    result, _ = compare(200, 200, seconds=0.5)
    assert result.rounds == MIN_ROUNDS


def test_patience_ends():
    result, _ = compare(200, 200, seconds=0.02)
    assert result.rounds == 2


def test_runners_take_turns_and_alternate_who_is_first():
    _, log = compare(2, 2, seconds=0.1)
    # One inference warms up, one is timed: A A B B, then B B A A, and so on.
    assert "aabbbbaaaabbbbaa" in log


def test_short_inferences_are_timed_in_numbers():
    result, log = compare(1e-3, 1e-3, seconds=0.1)
    assert len(log) > 100 * result.rounds
    assert result.milliseconds[0] == pytest.approx(1e-3, rel=0.01)


def test_traces_are_thinned():
    result, _ = compare(0.2, 0.2, Machine(), seconds=0.3)
    assert result.rounds > 200
    assert result.baseline is not None
    assert len(result.baseline.trace) == 200


def test_threads_wait_for_the_others_to_stop_spinning():
    result, log = compare(1, 2, config=TWO, seconds=2.0)
    assert "a" * 50 in log
    assert "b" * 25 in log
    assert result.speed == pytest.approx(0.5, rel=0.01)
    assert result.method == "wall time"
    assert result.ends.high / result.speed > 1.12, "sessions on several threads differ by as much"


def test_threads_on_a_busy_machine_have_no_ratio_but_a_reason():
    result, _ = compare(6.0, 1.8, Machine(crowd), config=TWO, seconds=2.0)
    assert result.ratio is None
    assert result.interval is None
    assert result.baseline is None
    assert result.verdict == "undecided"
    assert result.reason is not None
    assert "too busy" in result.reason
    assert "--threads 1" in result.reason


def test_threads_are_timed_in_the_rounds_that_bursts_leave_alone():
    bursts = Machine(lambda now: 3.0 if now % 4 < 1.5 else 0.0)
    result, _ = compare(6.0, 1.8, bursts, config=TWO, seconds=8.0)
    assert result.speed == pytest.approx(6.0 / 1.8, rel=0.02)
    assert result.milliseconds == pytest.approx((6.0, 1.8), rel=0.02)
    assert result.conditions is not None
    assert 0.3 < (result.conditions.clean or 0) < 0.8


def test_rounds_beside_a_neighbour_on_the_core_do_not_count_where_there_are_others():
    half = Machine(slowness=lambda now: 1.5 if now % 0.2 < 0.15 else 1.0)
    result, _ = compare(0.7, 0.35, half, issues=(0.6, 1.2))
    assert result.speed == pytest.approx(2.0, rel=0.02)
    assert result.milliseconds == pytest.approx((0.7, 0.35), rel=0.02)
    assert result.conditions is not None
    assert not result.conditions.busy
    assert result.conditions.slowness == 1.0


def test_a_neighbour_who_stays_is_told_with_what_that_may_have_changed():
    result, _ = compare(0.7, 0.35, Machine(slowness=lambda now: 1.5), issues=(0.7, 1.2))
    assert result.speed == pytest.approx(2.0 * 1.35 / 1.6, rel=0.02)
    assert result.conditions is not None
    assert result.conditions.busy
    assert result.speed * result.conditions.leeway > 2.0
    assert result.conditions.slowness == pytest.approx(1.5)


def test_a_neighbour_who_goes_is_waited_for():
    gone = Machine(slowness=lambda now: 1.5 if now < 0.49 else 1.0)
    result, _ = compare(0.7, 0.35, gone, seconds=0.5, issues=(0.6, 1.2))
    assert result.speed == pytest.approx(2.0, rel=0.02)


def test_several_threads_do_not_look_for_a_neighbour():
    result, _ = compare(4, 2, Machine(slowness=lambda now: 1.5), config=TWO, seconds=2.0)
    assert result.conditions is not None
    assert result.conditions.slowness == 1.0
    assert not result.conditions.busy


def test_what_sleeps_is_timed_by_the_wall():
    result, _ = compare(4, 2, sleeps=True)
    assert result.method == "wall time"
    assert result.speed == pytest.approx(2.0, rel=1e-3)
    busy, _ = compare(4, 2, Machine(crowd), sleeps=True)
    assert busy.ratio is None
    assert "waits" in (busy.reason or "")


def test_without_a_fine_clock_the_wall_has_to_do():
    result, _ = compare(4, 2, fine=False)
    assert result.method == "wall time"
    assert result.speed == pytest.approx(2.0, rel=1e-3)


def test_where_the_system_tells_nothing_of_others_all_rounds_count():
    result, _ = compare(4, 2, fine=False, told=False)
    assert result.speed == pytest.approx(2.0, rel=1e-3)
    assert result.conditions is not None
    assert result.conditions.foreign is None
    busy, _ = compare(6.0, 1.8, Machine(crowd), told=False)
    assert busy.ends.high / busy.speed == pytest.approx(1.07, rel=0.01)


def raced(machine: Machine, config: LatencyConfig, **how: float) -> tuple[LatencyResult, Working]:
    one, other = (Working(machine, ms * MS, threads=config.threads) for ms in (4, 2))
    found = race(
        lambda: one,
        lambda: other,
        FEEDS,
        config,
        deciding=True,
        clocks=machine.clocks(),
        **how,
    )
    return found, one


def test_several_threads_are_opened_anew():
    found, runner = raced(Machine(), TWO, seconds=6.0)
    assert found.sessions == runner.opened == 3
    found, runner = raced(Machine(), ONE, seconds=6.0)
    assert found.sessions == runner.opened == 1


def test_what_decides_nothing_is_raced_again_up_to_a_bound():
    mostly = Machine(lambda now: 0.0 if now < 0.5 else 3.0)
    found, runner = raced(mostly, TWO, seconds=1.0, again=2)
    assert found.verdict == "undecided"
    assert runner.opened == 3
    found, runner = raced(Machine(crowd), TWO, seconds=1.0, again=2)
    assert found.verdict == "undecided"
    assert runner.opened == 1, "where others are always there, waiting gains nothing"
    found, runner = raced(Machine(), ONE, seconds=1.0, again=2)
    assert found.verdict == "faster"
    assert runner.opened == 1


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.9, 1.1, "no significant difference"),
        (1.0, 1.2, "no significant difference"),
        (0.93, 6.86, "undecided"),
        (0.5, 1.01, "undecided"),
        (1.01, 9.0, "faster"),
        (0.8, 0.99, "slower"),
    ],
)
def test_verdict(low: float, high: float, expected: str):
    assert verdict(Interval(low=low, high=high)) == expected


def test_a_runner_alone():
    machine = Machine(crowd)
    runner = Working(machine, 2 * MS)
    timing = time_runner(runner, FEEDS, threads=1, seconds=0.2, clocks=machine.clocks())
    assert timing.median_ms == pytest.approx(2.0, rel=0.01)


def test_shares_are_of_what_others_did():
    machine = Machine(lambda now: 1.0 if now >= 1 else 0.0)
    load = Load(machine.clocks())
    for _ in range(20):
        machine.work(100 * MS)
        load.look()
    assert load.foreign(0, int(0.8e9)) == pytest.approx(0.0, abs=1e-9)
    assert load.foreign() == pytest.approx(0.4, abs=0.1)
    assert load.stolen() == 0.0
    assert load.throttled() is None


def test_counters_of_the_allowed_processors(monkeypatch, tmp_path):
    stat = tmp_path / "stat"
    stat.write_text(
        "cpu  9 9 9 9\ncpu0 100 0 50 900 5 0 0 25 0 0\ncpu1 500 0 0 0\nintr 1\n", encoding="ascii"
    )
    monkeypatch.setattr("compressor.evaluation.clocks.allowed_processors", lambda: {0})
    monkeypatch.setattr("os.sysconf", lambda name: 100)
    assert machine_time(stat) == MachineTime(1.75, 0.25, 1)
    monkeypatch.setattr("compressor.evaluation.clocks.allowed_processors", lambda: None)
    assert machine_time(stat) == MachineTime(6.75, 0.25, 2)


def test_one_model_against_itself_on_onnx_runtime(tiny_model):
    feeds = {"x": np.ones((8, 16), np.float32)}
    target = find_target("ort")
    with target.open(tiny_model) as a, target.open(tiny_model) as b:
        config = LatencyConfig(batch=8, threads=1)
        result = compare_latency(a, b, feeds, config, deciding=False, seconds=0.5)
    assert result.speed == pytest.approx(1.0, abs=0.2)
    assert result.method == "cpu time"
    assert not result.deciding
    assert 0 < result.milliseconds[1] < 10


class InParts(Working):
    """A first result after two fifths of its time, and three more."""

    def parts(self):
        first = 0.4 * self.nanoseconds
        return {"g first": (first, first), "g each": (2 * (self.nanoseconds - first) / 3,) * 2}


def test_parts_are_compared_by_the_rounds_of_the_whole():
    machine = Machine()
    slow, quick = InParts(machine, 20 * MS), InParts(machine, 10 * MS)
    found = race_of_parts(
        lambda: slow, lambda: quick, FEEDS, ONE, seconds=1.0, clocks=machine.clocks()
    )
    assert set(found) == {"g first", "g each"}
    assert found["g first"].milliseconds == pytest.approx((8.0, 4.0), rel=1e-6)
    assert found["g each"].milliseconds == pytest.approx((8.0, 4.0), rel=1e-6)
    assert found["g each"].speed == pytest.approx(2.0, rel=1e-3)
    assert found["g each"].rounds >= WANTED_ROUNDS
    assert not found["g each"].deciding


def test_what_an_inference_waits_is_told_beside_its_cpu_time():
    """A loop that sleeps for longer than the warm-up has time for is not seen to wait there."""
    machine = Machine()

    @dataclass
    class Waiting(Working):
        def bind(self, feeds):
            def run():
                machine.work(MS)
                machine.sleep(self.nanoseconds)

            return run

    runners = (Waiting(machine, ms * MS) for ms in (50, 30))
    found = compare_latency(
        *runners, FEEDS, ONE, deciding=True, seconds=0.05, clocks=machine.clocks()
    )
    assert found.baseline is not None
    assert found.result is not None
    assert found.baseline.method == "cpu time"
    assert found.milliseconds == pytest.approx((1, 1), rel=0.01)
    assert found.baseline.wall_ms == pytest.approx(51, rel=0.01)
    assert found.result.wall_ms == pytest.approx(31, rel=0.01)
    assert found.baseline.waits
    computing, _ = compare(4, 2)
    assert computing.baseline is not None
    assert not computing.baseline.waits
