"""When a decoder's cache lies in shared buffers: accepted by the user, equal, and faster."""

import numpy as np
import pytest
from cached_decoder import calls, decoder
from graphs import residual
from seams import Timed, Verdicts, always, session_of

from compressor.checkpoint.prepare import prepare
from compressor.commands.inspect import cache_advice
from compressor.errors import RecipeError, UsageError
from compressor.graph.files import save_model
from compressor.plan.realize import realize
from compressor.quantization.dynamic import place_dynamic
from compressor.recipe.measuring import MeasureOptions
from compressor.recipe.quantizing import QuantizeOptions
from compressor.recipe.recipe import Recipe
from compressor.recipe.requirements.targets import require_mode
from compressor.search.baseline import undecided
from compressor.search.candidate import Outcome
from compressor.search.precision.integer_cache import with_integer_cache
from compressor.search.precision.shared_cache import (
    follows_from_sizes,
    hides_later,
    with_shared_cache,
)
from compressor.search.replay import replay
from compressor.search.session import Session
from exporters.base import find_target


def started(
    cache: str = "float", ratio: float = 1.2, *, contrib: bool = True, mask: str | None = "sizes"
) -> tuple[Session, Outcome]:
    """A decoder with its products in 8 bits."""
    options = {"kv_cache": cache, "cpu": "vnni", "batch": 4, "contrib": contrib}
    recipe = Recipe(
        quantize=QuantizeOptions.model_validate(options),
        measure=MeasureOptions(seconds=0.05, context=16),
    )
    data = calls(samples=8)
    if mask == "input":
        data["padding"] = np.ones((8, 12), np.int64)
    session = session_of(decoder(mask=mask), recipe, Timed(always(ratio)), calibration=data)
    start = undecided(session)
    dynamic = place_dynamic(start.graph, session.target.policy("vnni")).integer
    plan = start.plan.model_copy(update={"ship": "int8", "dynamic": dynamic})
    made = realize(start.graph, plan, session.target)
    return session, start.then(plan=plan, shipped=made)


def shared(session: Session, found: Outcome, *verdicts: bool, asked: str | None = None) -> Outcome:
    data = session.prepared.calibration
    return with_shared_cache(session, found, data, Verdicts(data, verdicts, asked=asked))


def inputs(found: Outcome) -> dict[str, str]:
    return {value.name or "": str(value.dtype) for value in found.shipped.graph.inputs}


def test_what_is_faster_ships_and_is_replayed():
    session, found = started()
    made = shared(session, found)
    assert {name: one.causal for name, one in made.plan.shared.items()} == {
        "past_key": True,
        "past_value": True,
    }
    assert inputs(made)["seqlens_k"] == "INT32"
    assert "1.20× the speed" in made.records[-1].decisions[0].reason
    assert any("compressor.load" in said for said in made.records[-1].notices)
    assert inputs(replay(session, made.plan)) == inputs(made)


@pytest.mark.parametrize(
    ("ratio", "verdicts", "asked"), [(1.0, (), None), (0.9, (), None), (1.2, (False,), "1%")]
)
def test_what_is_not_faster_or_not_good_enough_stays(ratio, verdicts, asked):
    session, found = started(ratio=ratio)
    made = shared(session, found, *verdicts, asked=asked)
    assert not made.plan.shared
    assert made.shipped is found.shipped
    assert any("--contrib" in said for said in made.records[-1].notices)


def test_only_where_it_was_accepted():
    session, found = started(contrib=False)
    assert shared(session, found) is found


def test_int8_is_raced_against_integers_that_are_copied():
    session, found = started("int8")
    data = session.prepared.calibration
    copied = with_integer_cache(session, found, data, Verdicts(data, asked=None))
    made = shared(session, copied)
    assert not made.plan.cache
    assert inputs(made)["past_key"] == "INT8"
    cache = copied.plan.cache["past_key"]
    furthest = max(cache.zero_point, 255 - cache.zero_point) * cache.scale
    assert made.plan.shared["past_key"].scale == pytest.approx(furthest / 127)


def test_a_mask_from_data_is_kept():
    session, found = started(mask="input")
    made = shared(session, found)
    assert not any(one.causal for one in made.plan.shared.values())
    assert "padding" in inputs(made)


def test_a_target_without_the_operator_refuses():
    options = QuantizeOptions(contrib=True)
    with pytest.raises(RecipeError, match="--contrib"):
        require_mode(options, find_target("trt"))
    require_mode(options, find_target("ort"))


def test_what_follows_from_sizes():
    made = {mask: decoder(mask=mask) for mask in ("sizes", "input")}
    found = {}
    for mask, model in made.items():
        values = {v.name: v for node in model.graph for v in node.outputs}
        found[mask] = follows_from_sizes(values["bias"])
    assert found == {"sizes": True, "input": False}


def test_what_hides_later_tokens_and_no_more():
    seen = np.arange(7) <= 4 + np.arange(3)[:, None]
    assert hides_later(np.where(seen, 0, -1e9), 4)
    assert hides_later(seen, 4)
    assert hides_later(~seen[None, None], 4)
    assert not hides_later(np.where(seen, 0, -1e9), 3)
    assert not hides_later(np.where(seen, 0, -1.0), 4)
    window = seen & (np.arange(7) > np.arange(3)[:, None])
    assert not hides_later(np.where(window, 0, -1e9), 4)
    assert not hides_later(np.zeros((2, 1, 3, 7)), 4)


def test_a_result_is_not_compressed_again(tmp_path):
    session, found = started()
    path = tmp_path / "again.onnx"
    save_model(shared(session, found).shipped, path)
    with pytest.raises(UsageError, match="shared buffers"):
        prepare(path, target=find_target("ort"), recipe=Recipe())


def test_a_profile_says_what_a_cache_could_be():
    (told,) = cache_advice(find_target("ort"), decoder())
    assert "past_key and 1 more" in told
    assert "--contrib" in told
    assert not cache_advice(find_target("ort"), residual())
    assert not cache_advice(find_target("trt"), decoder())
