"""What open sizes have to do with each other, found by running a stand-in for the source."""

from collections.abc import Callable

import numpy as np
import pytest

from compressor.capture.inputs import Inputs, sized
from compressor.capture.relations import related
from compressor.capture.verify import expectations, settle
from compressor.checkpoint.prepared import size_names
from compressor.errors import CaptureError
from compressor.recipe.notation import parse_input
from compressor.results.format import configuration
from compressor.results.measurements import LatencyConfig

Sizes = dict[str, tuple[int, ...]]


def source(holds: Callable[[Sizes], bool]) -> Callable[[Inputs], dict[str, np.ndarray]]:
    def evaluate(at: Inputs) -> dict[str, np.ndarray]:
        arrays = at.arrays()
        if not holds({name: array.shape for name, array in arrays.items()}):
            raise CaptureError("shapes do not fit")
        return {"y": np.ones(len(next(iter(arrays.values()))), np.float32)}

    return evaluate


def inputs(*texts: str, **samples: tuple[int, ...]) -> Inputs:
    arrays = {name: np.ones(shape, np.float32) for name, shape in samples.items()}
    return sized(tuple(parse_input(text) for text in texts), arrays)


DECODER = ("ids:float32[b,s]", "mask:float32[b,t]", "k:float32[b,2,p,4]")


def decoder(found: Sizes) -> bool:
    return found["mask"][1] == found["ids"][1] + found["k"][2]


def test_a_total_is_the_sum_of_what_it_counts_without_data() -> None:
    found = settle(source(decoder), inputs(*DECODER))
    assert [str(spec) for spec in found.specs][1] == "mask:float32[b,s+p]"


def test_a_total_is_the_sum_at_the_sizes_of_data_with_an_empty_cache_too() -> None:
    for past in (0, 5):
        given = inputs(*DECODER, ids=(8, 3), mask=(8, 3 + past), k=(8, 2, past, 4))
        found = settle(source(decoder), given)
        assert str(found.specs[1]) == "mask:float32[b,s+p]"
        assert found.sizes["s"] == 3
        assert found.sizes["p"] == past


def test_a_size_that_equals_another_follows_it() -> None:
    given = inputs("ids:float32[b,s]", "mask:float32[b,m]", ids=(8, 6), mask=(8, 6))
    found = related(source(lambda f: f["ids"] == f["mask"]), given)
    assert str(found.specs[1]) == "mask:float32[b,s]"


def test_sizes_that_are_free_stay_as_they_are() -> None:
    given = inputs("x:float32[b,h,w]", "y:float32[b,n]")
    assert settle(source(lambda _: True), given) == given


def test_a_lonely_scalar_is_one_or_the_batch_and_never_sixteen() -> None:
    broadcast = source(lambda f: f["t"][0] in (1, f["x"][0]))
    given = inputs("x:float32[b,4]", "t:float32[steps]")
    assert settle(broadcast, given).sizes["steps"] == 1
    with_data = inputs("x:float32[b,4]", "t:float32[steps]", x=(8, 4), t=(8,))
    assert str(settle(broadcast, with_data).specs[1]) == "t:float32[b]"


def test_sizes_that_the_user_gave_are_kept() -> None:
    given = inputs("x:float32[b,h]")
    given = Inputs(given.specs, {}, {**given.sizes, "h": 20}, asked=frozenset({"h"}))
    assert settle(source(lambda f: f["x"][1] == 20), given).sizes["h"] == 20


def test_expectations_reach_one_and_change_all_sizes_together() -> None:
    tried = expectations(source(decoder), settle(source(decoder), inputs(*DECODER)), "float32")
    sizes = [(e.inputs.sizes["b"], e.inputs.sizes["s"], e.inputs.sizes["p"]) for e in tried]
    assert len(set(sizes)) == len(sizes)
    assert any(s == 1 and p == 1 for _, s, p in sizes)
    assert {b for b, _, _ in sizes} >= {1, 2, 3}


def test_expectations_leave_out_sizes_that_the_source_does_not_take() -> None:
    only_even = source(lambda f: f["x"][1] % 4 == 0)
    given = settle(only_even, inputs("x:float32[b,h]"))
    assert {e.inputs.sizes["h"] % 4 for e in expectations(only_even, given, "float32")} == {0}


def test_what_is_timed_is_named_by_its_open_sizes() -> None:
    given = settle(source(decoder), inputs(*DECODER))
    feeds = {"ids": (1, 1), "mask": (1, 48), "k": (1, 2, 47, 4)}
    arrays = {name: np.ones(shape, np.float32) for name, shape in feeds.items()}
    assert size_names(given, arrays) == "s 1, p 47"
    config = LatencyConfig(batch=1, threads=1, sizes=size_names(given, arrays))
    assert configuration(config) == "batch 1, s 1, p 47, one thread"


def test_several_entries_a_sample_are_so_many_times_the_batch() -> None:
    ranking = source(lambda found: found["items"][0] == 4 * found["x"][0])
    texts = ("x:float32[n,8]", "items:float32[m,8]")
    for given in (inputs(*texts), inputs(*texts, x=(8, 8), items=(32, 8))):
        found = settle(ranking, given)
        assert str(found.specs[1]) == "items:float32[4*n,8]"
        assert len(found.of(1).arrays()["items"]) == 4


def test_entries_that_are_no_whole_number_a_sample_are_not() -> None:
    ranking = source(lambda found: found["items"][0] == 4 * found["x"][0])
    given = inputs("x:float32[n,8]", "items:float32[m,8]", x=(8, 8), items=(31, 8))
    with pytest.raises(CaptureError):
        settle(ranking, given)
