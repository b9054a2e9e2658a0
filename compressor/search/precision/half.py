"""Half precision, for targets that compute in it: what has to stay float32, by the data."""

import time
from dataclasses import replace

from calibration.dataset import CalibrationSet
from compressor.plan.realize import realize
from compressor.quantization.remainder import REFERENCE, obstacle, unfit_for_half
from compressor.results.records import Decision, StageRecord
from compressor.search.candidate import Decided
from compressor.search.session import Bench


def with_half(bench: Bench, start: Decided, data: CalibrationSet | None) -> Decided:
    """The float graph that was decided on, in half where the target computes in that.

    Args:
        bench: The target.
        start: What is float32 yet.
        data: Calibration samples, on which ranges are looked at.
    """
    if bench.target.remainder == "float32":
        return start
    started = time.perf_counter()
    why = obstacle(start.graph)
    if why is not None:
        return _told(start, started, (), f"it stays in float32: {why}")
    kept: tuple[str, ...] = ()
    notice = "no data tells whether float16 overflows: pass --calib"
    if data is not None:
        options, total = bench.recipe.quantize, len(data)
        with bench.progress.stage("check the range of half", total=total) as advance:
            kept = unfit_for_half(
                start.graph, data, batch=options.batch, memory=options.memory, advance=advance
            )
    plan = start.plan.model_copy(update={"half": kept, "ship": "fp16"})
    shipped = realize(start.graph, plan, bench.target)
    told = _told(start, started, kept, REFERENCE if data is not None else notice)
    return replace(told, shipped=shipped, plan=plan)


def _told(start: Decided, started: float, kept: tuple[str, ...], notice: str | None) -> Decided:
    record = StageRecord(
        name="half precision",
        seconds=time.perf_counter() - started,
        changed={"nodes that stay float32": len(kept)},
        decisions=tuple(
            Decision(
                subject=name,
                verdict="float32",
                reason="on the samples it comes too near to the ends of float16",
            )
            for name in kept
        ),
        notices=() if notice is None else (notice,),
    )
    return replace(start, records=(*start.records, record))
