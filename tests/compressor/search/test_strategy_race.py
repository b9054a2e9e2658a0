"""What decided is what is reported, where it raced the graphs that are."""

from types import SimpleNamespace

import onnx_ir as ir
import pytest

from compressor.commands.account import measured_again
from compressor.results.measurements import LatencyConfig, LatencyResult
from compressor.search.candidate import Decided, Raced

ONE, TWO = LatencyConfig(batch=1, threads=1), LatencyConfig(batch=1, threads=2)


def race(ratio: float | None, config: LatencyConfig = ONE) -> LatencyResult:
    return LatencyResult.model_construct(ratio=ratio, config=config)


def graph(name: str) -> ir.Model:
    return ir.from_onnx_text(
        f'<ir_version: 10, opset_import: ["" : 20]> {name} (float[1] x) => (float[1] y) '
        "{ y = Relu(x) }"
    )


def test_only_the_race_of_the_very_graphs_is_known():
    baseline, shipped, other = graph("a"), graph("b"), graph("c")
    found = race(1.5)

    def decided(raced: Raced | None) -> Decided:
        return Decided(baseline, baseline, shipped, None, "", {}, (), raced=raced)

    assert decided(Raced(baseline, shipped, found)).known_race is found
    assert decided(Raced(baseline, other, found)).known_race is None
    assert decided(Raced(other, shipped, found)).known_race is None
    assert decided(None).known_race is None


@pytest.mark.parametrize(
    ("decided", "final", "words"),
    [
        (race(1.5), race(1.5), None),
        (race(1.5), race(1.4), "timed again when it was finished"),
        (race(1.5), race(None, TWO), "was on one thread, as others used the machine"),
    ],
)
def test_figures_that_differ_are_explained(decided, final, words):
    candidate = SimpleNamespace(shipped=True, latency=decided)
    told = measured_again(SimpleNamespace(latency=(final,), candidates=(candidate,)))
    assert told == () if words is None else words in told[0]
