"""What training brought back, in words and in a picture, for every form the report is shown in."""

from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from compressor.report import plots
from compressor.results import format as fmt
from compressor.results.training import CurvePoint, TrainingResult


@dataclass(frozen=True)
class TrainedView:
    """The section on training."""

    headline: str
    how: str
    features: tuple[str, ...]
    parity: str
    curve: tuple[CurvePoint, ...]
    best: int
    svg: Markup | None


def trained_view(found: TrainingResult | None, key: str) -> TrainedView | None:
    """The section on a training; None where nothing was trained."""
    if found is None:
        return None
    errors = (f"{one.error:.1e} at batch {one.batch}" for one in found.parity)
    return TrainedView(
        headline(found),
        how(found),
        found.features,
        ", ".join(errors),
        found.curve,
        found.best,
        _curves(found, key) if len(found.curve) > 2 else None,
    )


def headline(result: TrainingResult) -> str:
    """What became of it, as a sentence."""
    through = ", through its integers" if result.quantized else ""
    verdict = f"Trained{through}" if result.kept else "Not trained: the weights are as before"
    return f"{verdict}: {result.reason}."


def how(result: TrainingResult) -> str:
    """What was done, as a sentence."""
    if not result.done:
        return f"Asked for: {result.asked}, of {fmt.plural(result.samples, 'sample')}."
    attack = "" if result.attack is None else f"each attacked by {result.attack}, "
    ways = {"distill": "the original's answers", "labels": "the original's answers and labels"}
    return (
        f"{result.done:,} of {fmt.plural(result.steps, 'step')} of {result.batch} samples in "
        f"{fmt.seconds(result.seconds)} ({fmt.seconds(result.cpu_seconds)} of processor time), "
        f"{attack}{result.optimizer} up to {result.rate:.2g}, {result.parameters:,} parameters, "
        f"from {ways.get(result.mode, 'a loss of the user')} on "
        f"{fmt.plural(result.samples, 'sample')}; {fmt.plural(result.held_out, 'sample')} held out "
        f"chose step {result.best:,}."
    )


def _curves(found: TrainingResult, key: str) -> Markup:
    """Losses by step."""
    words = f"Loss and held-out loss over {found.done:,} steps; the best is at step {found.best:,}"

    def draw(axes: Any) -> None:
        colours = plots.COLOURS
        for name, colour in (("loss", "before"), ("held_out", "after")):
            points = [(p.step, getattr(p, name)) for p in found.curve]
            known = [(step, loss) for step, loss in points if loss is not None]
            if known:
                axes.plot(*zip(*known, strict=True), color=colours[colour], linewidth=1.6)
        axes.axvline(found.best, color=colours["ink"], linewidth=0.9, linestyle="--")
        axes.set_xlabel("step", color=colours["quiet"])

    return plots.drawn(draw, height=2.0, words=words, key=key)
