"""Every network of the zoo: captured, folded, pruned, and run, with nothing left to chance.

A few run every time; `make zoo` runs them all.
"""

from collections.abc import Mapping
from functools import cached_property

import numpy as np
import onnx_ir as ir
import pytest

pytest.importorskip("torch", reason="the zoo is made of torch modules")

import torch
from networks import TRANSFORMERS, ZOO, Network

from compressor.capture import Captured
from compressor.folding import fold
from compressor.graph.session import open_session
from compressor.graph.tensors import Array

ALWAYS = ("shufflenet_v1", "squeeze_excite", "siamese", "vit")
"""Quick ones, for a run of everything."""

RELATIVE = 1e-4
"""Of the largest magnitude of an output: float32 through some tens of layers, summed anew."""


class Case:
    """A network, with what several tests ask of it made once."""

    def __init__(self, network: Network) -> None:
        self.network = network

    @cached_property
    def module(self) -> torch.nn.Module:
        return self.network.module()

    @cached_property
    def captured(self) -> Captured:
        return self.network.captured()

    @cached_property
    def folded(self) -> ir.Model:
        return fold(self.captured.model, self.network.feeds(2))[0]


def cases() -> list[object]:
    held_out = (pytest.mark.zoo, pytest.mark.slow)
    return [
        pytest.param(network, id=network.name, marks=() if network.name in ALWAYS else held_out)
        for network in ZOO
    ]


@pytest.fixture(scope="module", params=cases())
def case(request: pytest.FixtureRequest) -> Case:
    if request.param in TRANSFORMERS:
        pytest.importorskip("transformers", reason="its configurations build the network")
    return Case(request.param)


def run(model: ir.Model, feeds: Mapping[str, Array]) -> dict[str, Array]:
    session = open_session(model)
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(None, dict(feeds)), strict=True))


def expected(case: Case, feeds: Mapping[str, Array]) -> list[Array]:
    """What torch returns, its tensors in order."""
    with torch.no_grad():
        result = case.module(**{name: torch.from_numpy(array) for name, array in feeds.items()})
    parts = result.values() if isinstance(result, Mapping) else [result]
    return [part.numpy() for part in parts if isinstance(part, torch.Tensor)]


def distance(one: Array, other: Array) -> float:
    """The largest difference, relative to the largest magnitude."""
    return float(np.abs(one - other).max() / np.abs(one).max())


def test_names_are_unique() -> None:
    names = [network.name for network in ZOO]
    assert len(set(names)) == len(names)
    assert set(ALWAYS) <= set(names)


def test_capture_keeps_the_batch_dynamic(case: Case) -> None:
    assert case.captured.record.parameters["batch"] == "dynamic"
    assert {parity.batch for parity in case.captured.parity} > {2}


def test_folding_keeps_the_outputs(case: Case) -> None:
    for batch in (1, 3):
        feeds = case.network.feeds(batch, seed=batch)
        found = list(run(case.folded, feeds).values())
        wanted = expected(case, feeds)
        assert len(found) == len(wanted)
        for ours, theirs in zip(found, wanted, strict=True):
            assert ours.shape == theirs.shape
            assert distance(theirs, ours) < RELATIVE


def test_outputs_depend_on_the_inputs(case: Case) -> None:
    """Else no error inside would show."""
    one, other = (run(case.folded, case.network.feeds(2, seed)) for seed in (1, 2))
    for name in one:
        assert np.isfinite(one[name]).all()
        assert distance(one[name], other[name]) > 1e-2
