"""Half precision, for targets that compute in it: what has to stay float32, by the data."""

from calibration.dataset import CalibrationSet
from compressor.plan.realize import realize
from compressor.quantization.remainder import REFERENCE, unfit_for_half, why_not_half
from compressor.search.candidate import Outcome
from compressor.search.session import Session

UNSEEN = "no data tells whether float16 overflows: pass --calib"


def with_half(session: Session, start: Outcome, data: CalibrationSet | None) -> Outcome:
    """The float graph that was decided on, in half where the target computes in that.

    Args:
        session: The target.
        start: What is float32 yet.
        data: Calibration samples, on which ranges are looked at.
    """
    if session.target.remainder == "float32":
        return start
    with session.stage("half precision") as stage:
        why = why_not_half(start.graph)
        kept: tuple[str, ...] = ()
        if why is None and data is not None:
            options, total = session.recipe.quantize, len(data)
            with session.progress.stage("check the range of half", total=total) as advance:
                kept = unfit_for_half(
                    start.graph, data, batch=options.batch, memory=options.memory, advance=advance
                )
        stage.changed = {"nodes that stay float32": len(kept)}
        for name in kept:
            told = "on the samples it comes too near to the ends of float16"
            stage.decide(name, "float32", told)
        if why is not None:
            stage.notices.append(f"it stays in float32: {why}")
        else:
            stage.notices.append(UNSEEN if data is None else REFERENCE)
    if why is not None:
        return start.then(stage.record)
    plan = start.plan.model_copy(update={"half": kept, "ship": "fp16"})
    shipped = realize(start.graph, plan, session.target)
    return start.then(stage.record, plan=plan, shipped=shipped)
