"""Profiles from the calls of a loop: as many as have ends that were calls."""

from collections import Counter
from importlib import util
from pathlib import Path

import numpy as np
import pytest
from graphs import model

from exporters.base import CallShapes, Samples
from exporters.trt.called import profiles_of_calls
from exporters.trt.notation import Profile
from exporters.trt.options import TrtOptions
from exporters.trt.target import TrtTarget


def decoding(prompts: range, tokens: int, batches: tuple[int, ...] = (1,)) -> Counter[CallShapes]:
    """A prompt behind an empty cache, then one token at a time."""
    calls: Counter[CallShapes] = Counter()
    for batch in batches:
        for prompt in prompts:
            past, new = 0, prompt
            for _ in range(tokens):
                shapes = {
                    "ids": (batch, new),
                    "mask": (batch, past + new),
                    "past": (batch, 4, past),
                }
                calls[tuple(shapes.items())] += 1
                past, new = past + new, 1
    return calls


def test_a_prompt_and_a_token_behind_a_cache_are_profiles_of_their_own():
    found = profiles_of_calls(["ids", "mask", "past"], decoding(range(3, 9), 6))
    assert len(found) == 2
    token, prompt = found
    assert token["ids"] == ((1, 1),) * 3
    assert (token["past"].least, token["past"].most) == ((1, 4, 3), (1, 4, 12))
    assert token["mask"].likely == (1, 1 + token["past"].likely[-1])
    assert prompt["past"] == ((1, 4, 0),) * 3
    assert (prompt["ids"].least, prompt["ids"].most) == ((1, 3), (1, 8))


def test_batches_of_the_same_calls_need_no_more_profiles():
    found = profiles_of_calls(["ids", "mask", "past"], decoding(range(3, 9), 6, (1, 8)))
    assert [profile["mask"].most for profile in found] == [(8, 13), (8, 8)]


def test_the_ends_keep_to_what_all_calls_do_and_every_call_lies_in_a_profile():
    """Answers of any length to questions of any length: not all that could come has come."""
    rng, calls = np.random.default_rng(0), Counter[CallShapes]()
    for _ in range(20):
        question, past = int(rng.integers(2, 30)), 0
        for new in [int(rng.integers(2, 6)), *[1] * int(rng.integers(1, 12))]:
            shapes = {"ids": (1, new), "mask": (1, past + new), "past": (1, 4, past)}
            calls[tuple({**shapes, "cross": (1, 4, question)}.items())] += 1
            past += new
    found = profiles_of_calls(["ids", "mask", "past", "cross"], calls)
    assert len(found) == 2
    for profile in found:
        for end in ("least", "likely", "most"):
            ids, mask, past = (getattr(profile[name], end)[-1] for name in ("ids", "mask", "past"))
            assert mask == ids + past
    for call in calls:
        assert any(_lies_in(profile, call) for profile in found)


def _lies_in(profile: Profile, call: CallShapes) -> bool:
    spans = ((profile[name], shape) for name, shape in call)
    return all(
        low <= size <= high
        for span, shape in spans
        for low, size, high in zip(span.least, shape, span.most, strict=True)
    )


def test_products_of_sizes_keep_together_too():
    calls = {
        (("picture", (h, w)), ("patches", (1, h * w // 4))): 1
        for h, w in ((8, 32), (32, 8), (16, 16), (32, 32), (8, 8))
    }
    (found,) = profiles_of_calls(["picture", "patches"], calls)
    assert found["patches"] == ((1, 16), (1, 64), (1, 256))
    odd = {**calls, (("picture", (8, 64)), ("patches", (1, 128))): 1}
    for profile in profiles_of_calls(["picture", "patches"], odd):
        for shape, count in zip(profile["picture"], profile["patches"], strict=True):
            assert shape[0] * shape[1] == 4 * count[1]


def test_sizes_of_all_kinds_share_one_profile():
    rng = np.random.default_rng(0)
    calls = {(("x", tuple(rng.integers(1, 99, 4).tolist())),): 1 for _ in range(200)}
    (found,) = profiles_of_calls(["x"], calls)
    sizes = np.array([dict(call)["x"] for call in calls])
    assert found["x"].least == tuple(sizes.min(0))
    assert found["x"].most == tuple(sizes.max(0))


def test_the_commonest_call_is_the_likely_one():
    calls = {(("x", (size,)),): count for size, count in ((1, 1), (7, 50), (64, 2))}
    (found,) = profiles_of_calls(["x"], calls)
    assert found["x"] == ((1,), (7,), (64,))


@pytest.mark.skipif(util.find_spec("tensorrt_rtx") is None, reason="tensorrt_rtx is not installed")
def test_an_engine_of_a_cache_that_starts_empty_is_built(tmp_path: Path):
    graph = model(
        """g (float[n,s,8] x, float[n,p,8] past, float[n,t] mask)
            => (float[n,q,8] present, float[n,q,8] y)
        <int64[1] axes = {2}>
        { present = Concat<axis=1>(past, x)
          m = Unsqueeze(mask, axes)
          y = Mul(present, m) }"""
    )  # fmt: skip
    calls: Counter[CallShapes] = Counter()
    for past, new in ((0, 5), (0, 3), (3, 1), (4, 1), (5, 1), (6, 1)):
        shapes = {"x": (1, new, 8), "past": (1, past, 8), "mask": (1, past + new)}
        calls[tuple(shapes.items())] += 1
    feeds = {name: np.zeros(shape, np.float32) for name, shape in next(iter(calls))}
    target = TrtTarget(TrtOptions(backend="tensorrt-rtx", precision="fp32"))
    made = target.build(graph, tmp_path, samples=Samples(feeds, (1, 1, 8), calls=calls))
    assert made.engine is not None
    assert made.engine.file, made.engine.reason
    assert [profile["past"][0][1] for profile in made.engine.profiles] == [3, 0]


def test_profiles_that_were_asked_for_may_be_of_one_graph():
    texts = ("unet/x:1x4,2x4,8x4", "vae/z:1x2", "t:1")
    target = TrtTarget(TrtOptions(backend="script", profiles=texts))
    names = ["unet", "vae"]
    assert target.for_graph("unet", names).options.profiles == ("x:1x4,2x4,8x4", "t:1")
    assert target.for_graph("vae", names).options.profiles == ("z:1x2", "t:1")
    assert target.for_graph("model", ["model"]).options.profiles == texts
