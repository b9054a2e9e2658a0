"""What is not built, since it would lose far more than a budget allows: asked where that is cheap.

A graph that has been chosen and repaired from a few samples is judged as float: a long repair and
8 bits gain it no more. Before anything is chosen, the loss of a smaller share is foreseen from that
of a larger one which was refused, by the ratio of what their scores predict:

    loss(share) = loss(larger) · damage(share) / damage(larger)
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from math import isfinite

from compressor.plan.decisions import PrunePlan
from compressor.results.format import percent, significant
from compressor.search.candidate import Candidate, Judged, Outcome

HOPELESS = 3.0
"""Times the allowed loss that a quick repair may have as float: a longer one gains no more."""
FORESEEN = 5 * HOPELESS
"""Times the allowed loss that may be foreseen: scores tell no more than the order of a loss."""


def repaired_without_hope(judged: Judged) -> Judged | None:
    """The verdict on a quick repair, where it rules out what would be built of it."""
    if judged.judgement is None or not judged.loss > HOPELESS * judged.judgement.allowed:
        return None
    words = judged.words.split(": ", 1)[-1]
    told = f"refused before it was built: as float, repaired from a few samples, {words}"
    return replace(judged, accepted=False, words=told)


def foreseen_without_hope(
    made: Iterable[Candidate], share: float, damage: Callable[[float], float | None]
) -> Judged | None:
    """The verdict on a share that nothing was made of, by one that was judged; None for hope.

    Args:
        made: What was made so far.
        share: Of the cost, that would go.
        damage: Share -> what the scores predict of it; None where they tell nothing.
    """
    larger = [one for one in made if _is_measured(one) and (one.share or 0.0) > share]
    if not larger:
        return None
    least = min(larger, key=lambda one: one.share or 0.0)
    judged, known, own = least.judged, damage(least.share or 0.0), damage(share)
    if judged is None or judged.judgement is None or not known or own is None:
        return None
    loss, allowed = judged.loss * own / known, judged.judgement.allowed
    if not loss > FORESEEN * allowed:
        return None
    told = (
        f"refused before it was chosen: by what {least.name} lost, and what the scores predict of "
        f"both, it is foreseen to lose {significant(loss / allowed, 2)} times what is allowed"
    )
    return replace(judged, accepted=False, loss=loss, words=told, quality=None)


def _is_measured(one: Candidate) -> bool:
    """Whether it was refused by a loss that was measured, not foreseen."""
    judged = one.judged
    return (
        judged is not None and one.refused and judged.quality is not None and isfinite(judged.loss)
    )


def not_built(start: Outcome, share: float, judged: Judged, plan: PrunePlan | None) -> Outcome:
    """An outcome that stands for what was not made.

    Args:
        start: The float graph.
        share: Of its cost, that would have gone.
        judged: Why not.
        plan: What would have gone, where it was chosen.
    """
    found = start.then(plan=start.plan.model_copy(update={"prune": plan}))
    candidate = replace(
        found.candidate,
        name=f"{percent(share)} pruned, not built",
        reason=judged.words,
        judged=judged,
        share=share,
    )
    return replace(found, candidate=candidate)
