"""Every network of the zoo: captured, folded, pruned, and run, with nothing left to chance.

A few run every time; `make zoo` runs them all.
"""

from collections import Counter
from collections.abc import Mapping
from functools import cached_property

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("torch", reason="the zoo is made of torch modules")

import torch
from networks import TRANSFORMERS, ZOO, Network
from networks.share import Share, share

from compressor.capture import Captured
from compressor.folding import fold
from compressor.graph.session import open_session
from compressor.graph.tensors import Array
from compressor.pruning.coupling.groups import Grouping, Keep, find_groups
from compressor.pruning.coupling.oracle import check, masked
from compressor.pruning.coupling.surgery import cut

ALWAYS = ("shufflenet_v1", "squeeze_excite", "siamese", "vit")
"""Quick ones, for a run of everything."""

LINEAR = ("Conv", "ConvTranspose", "Gemm", "MatMul")

RELATIVE = 1e-4
"""Of the largest magnitude of an output: float32 through some tens of layers, summed anew."""


LEAST = {
    "densenet": 99, "inception": 99, "shufflenet_v1": 99, "shufflenet_v2": 99, "resnext": 99,
    "squeeze_excite": 99, "unet": 99, "diffusion_unet": 99, "dcgan_generator": 99,
    "dcgan_discriminator": 99, "vae": 99, "super_resolution": 99, "siamese": 99, "detector": 99,
    "resnet": 99, "mobilenet_v2": 99, "efficientnet": 99, "mobilevit": 99, "whisper_encoder": 98,
    "t5_encoder": 95, "bert": 94, "gpt2": 90, "vit": 89, "dinov2": 89, "clip_vision": 87,
    "llama": 91, "swin": 87, "convnext": 75, "segformer": 56, "lstm_tagger": 14, "mamba": 94,
    "mobilenet_v1": 99, "mobilenet_v3": 99, "mobilenet_v4": 99, "maxvit": 89, "fastvit": 99,
    "regnet": 99, "deit": 89, "ssd": 95, "yolo": 99, "yolo_nms": 99, "deeplab": 99, "detr": 98,
    "mask2former": 97, "crnn": 74, "svtr": 58, "tcn": 99, "conformer": 97, "vocoder": 99,
    "voice_activity": 55, "distilbert": 94, "deberta": 93, "mpnet": 94, "t5": 98, "bart": 94,
    "whisper_decoder": 95, "wav2vec2": 85, "hubert": 83, "qwen": 92, "gemma": 95, "phi": 89,
    "rwkv": 81, "mixture_of_experts": 92, "mixtral": 97, "stylegan": 99, "vqvae": 99, "dit": 95,
    "consistency": 99, "dlrm": 99, "two_towers": 99, "temporal_fusion": 76, "lstm_forecaster": 15,
    "n_beats": 99, "gcn": 99, "gat": 99, "pointnet": 99, "dgcnn": 99,
}  # fmt: skip
"""The least share of parameters in prunable groups, per cent. An element counts when its row or
its column can go: the layers of a transformer do, whose stream is normalized and stays."""

HELD = {
    "convnext": "it is normalized over",
    "segformer": "it is normalized over",
    "lstm_tagger": "a recurrent network",
    "lstm_forecaster": "a recurrent network",
    "temporal_fusion": "a recurrent network",
    "crnn": "a recurrent network",
    "svtr": "it is normalized over",
    "voice_activity": "an input of the graph",
}
"""Why a fifth or more of the parameters is in no group: LayerNorm over the channels, between
convolutions or around attention whose keys are shortened; an LSTM's gates."""


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

    @cached_property
    def grouping(self) -> Grouping:
        return find_groups(self.folded, self.network.feeds(2))

    @cached_property
    def share(self) -> Share:
        return share(self.folded, self.grouping)


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


def one_of_each(grouping: Grouping) -> Keep:
    """The last unit of each group: sizes of one, which broadcast and squeeze."""
    return {group.name: np.arange(group.units) == group.units - 1 for group in grouping.groups}


@st.composite
def keep_sets(draw: st.DrawFn, grouping: Grouping) -> Keep:
    """In each group, any units, and one at least; the simplest keeps all."""
    keep = {}
    for group in grouping.groups:
        size = -(-group.units // 8)
        bits = np.frombuffer(draw(st.binary(min_size=size, max_size=size)), np.uint8)
        stays = np.unpackbits(bits)[: group.units] == 0
        stays[-1] |= not stays.any()
        keep[group.name] = stays
    return keep


def run(model: ir.Model, feeds: Mapping[str, Array]) -> dict[str, Array]:
    session = open_session(model)
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(None, dict(feeds)), strict=True))


def distance(one: Array, other: Array) -> float:
    """The largest difference, relative to the largest magnitude; that of another count is inf."""
    if one.shape != other.shape:
        return float("inf")
    return float(np.abs(one - other).max() / np.abs(one).max())


def test_names_are_unique() -> None:
    names = [network.name for network in ZOO]
    assert len(set(names)) == len(names)
    assert set(ALWAYS) <= set(names) == set(LEAST)


def test_capture_keeps_the_batch_dynamic(case: Case) -> None:
    assert case.captured.record.parameters["batch"] == "dynamic"
    if case.network.behind:  # of ONNX there is nothing else to compare with
        assert case.captured.parity == ()
    else:
        assert {parity.batch for parity in case.captured.parity} > {2}


def test_folding_keeps_the_outputs(case: Case) -> None:
    for batch in (1, 3):
        feeds = case.network.feeds(batch, seed=batch)
        found = list(run(case.folded, feeds).values())
        wanted = case.network.answers(case.module, feeds)
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


def test_parameters_in_groups(case: Case) -> None:
    name, found = case.network.name, case.share
    assert 100 * found.part >= LEAST[name], found.held
    assert (found.part < 0.8) == (name in HELD), "HELD is not up to date"
    if name in HELD:
        assert found.held[HELD[name]] > 0.2 * found.total, found.held


def test_every_operator_has_a_rule(case: Case) -> None:
    assert case.grouping.unknown == ()


def test_every_channel_is_in_a_group_or_frozen_for_a_reason(case: Case) -> None:
    told = Counter[tuple[str, int]]()
    for group in case.grouping.groups:
        for member in group.members:
            told[member.value, member.axis] += np.unique(member.positions).size
    for entry in case.grouping.frozen:
        told[entry.value, entry.axis] += entry.positions
    for node in case.folded.graph:
        weight = node.inputs[1] if node.op_type in LINEAR else None
        if weight is not None and weight.is_initializer() and weight.shape is not None:
            for axis, size in enumerate(weight.shape.numpy()[:2]):
                assert size == 1 or told[weight.name or "", axis] == size, (weight.name, axis)


def test_one_unit_of_each_group_is_left(case: Case) -> None:
    keep = one_of_each(case.grouping)
    before, after = agreeing(case, keep)
    assert max(distance(before[name], after[name]) for name in before) > 1e-3


@settings(max_examples=3, derandomize=True, deadline=None, database=None)
@given(data=st.data())
def test_cut_computes_what_masked_computes(case: Case, data: st.DataObject) -> None:
    agreeing(case, data.draw(keep_sets(case.grouping), label="keep"))


def agreeing(case: Case, keep: Keep) -> tuple[dict[str, Array], dict[str, Array]]:
    """Compare what is cut with what is masked; the outputs of the whole network and of that."""
    grouping = case.grouping
    check(case.folded, grouping, keep, case.network.feeds(2))
    small, whole = (make(case.folded, grouping, keep) for make in (cut, masked))
    fewer = any(not stays.all() for stays in keep.values())
    assert (share(small, grouping).total < case.share.total) == fewer
    for batch in (1, 3):
        feeds = case.network.feeds(batch, seed=batch)
        wanted, found = run(whole, feeds), run(small, feeds)
        assert list(wanted) == list(found)
        for name in wanted:
            assert distance(wanted[name], found[name]) < RELATIVE
    return run(case.folded, feeds), wanted
