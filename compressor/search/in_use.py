"""Two decoders raced in both phases: by what reading a prompt and writing after it takes.

With p tokens of prompt and n new ones, at the sizes that the phases are timed at (P tokens at once,
one behind a cache),

    t = p / P · t_prefill + n · t_decode

Of the result each phase takes a share of that; the ratio baseline / result is the mean of the
phases' ratios by these shares, and so are the ends of its interval, as if all erred alike.
"""

from collections.abc import Mapping, Sequence

import onnx_ir as ir

from compressor.recipe.usage import Usage
from compressor.results.format import plural, ratio, ratio_interval
from compressor.results.measurements import LatencyResult, Phase, UseResult
from compressor.results.records import Interval
from compressor.search.measure import configurations
from compressor.search.session import AGAIN, Session


def raced_in_use(
    session: Session,
    baseline: ir.Model,
    challenger: ir.Model,
    *,
    seconds: float,
    known: LatencyResult | None = None,
    again: int = AGAIN,
) -> UseResult | None:
    """Race two graphs in every phase of a decoder.

    Args:
        session: What is timed, and by whom.
        baseline: What is compared with.
        challenger: What may be faster.
        seconds: For each phase.
        known: A race of the two that there has been.
        again: How often to race again where the interval decides nothing.

    Returns:
        The time of a use; None where there is one phase, or one could not be timed.
    """
    if len(session.prepared.phases.calls) < 2:
        return None
    races: list[LatencyResult] = [] if known is None else [known]
    threads = session.deciding.threads if known is None else known.config.threads
    for config in configurations(session.recipe, session.prepared):
        same = config.batch == session.deciding.batch and config.threads == session.deciding.threads
        if not same or any(one.config.phase == config.phase for one in races):
            continue
        at = config.model_copy(update={"threads": threads})
        race = session.race_at(at, baseline, challenger, seconds=seconds, again=again)
        if race is None:
            return None
        races.append(race)
    return use_of(races, session.recipe.measure.usage, session.prepared.phases.prompt)


def use_of(races: Sequence[LatencyResult], usage: Usage, prompt: int) -> UseResult | None:
    """What races in both phases say of a use.

    Args:
        races: Of one pair, in each phase.
        usage: How many tokens are read and written.
        prompt: Tokens of the call that was timed as prefill.

    Returns:
        None where a phase is missing.
    """
    phases: dict[Phase, LatencyResult] = {}
    for one in races:
        if one.config.phase is not None and one.is_known:
            phases.setdefault(one.config.phase, one)
    if len(phases) < 2:
        return None
    weights: Mapping[Phase, float] = {"prefill": usage.prompt / prompt, "decode": usage.new}
    parts = {phase: weights[phase] * one.milliseconds[1] for phase, one in phases.items()}
    whole = sum(parts.values())
    shares = {phase: part / whole for phase, part in parts.items()}
    found, low, high = (
        sum(share * value(phases[phase]) for phase, share in shares.items())
        for value in (_speed, _low, _high)
    )
    return UseResult(
        prompt=usage.prompt,
        new=usage.new,
        baseline_ms=whole * found,
        result_ms=whole,
        ratio=found,
        interval=Interval(low=low, high=high),
        phases={phase: one.speed for phase, one in phases.items()},
    )


def in_words(use: UseResult) -> str:
    """The speed in a use, and of each phase, as a sentence goes on."""
    parts = ", ".join(f"{ratio(speed)} in {phase}" for phase, speed in use.phases.items())
    return (
        f"{ratio(use.ratio)} the speed ({ratio_interval(use.interval)}) for a prompt of "
        f"{plural(use.prompt, 'token')} and {use.new} new: {parts}"
    )


def _speed(race: LatencyResult) -> float:
    return race.speed


def _low(race: LatencyResult) -> float:
    return race.ends.low


def _high(race: LatencyResult) -> float:
    return race.ends.high
