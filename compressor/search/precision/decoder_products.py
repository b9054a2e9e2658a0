"""Products of a decoder in the one form that is fast in both of its phases.

A product of one row waits for its weights, one of a whole prompt for arithmetic. What is fastest
for one token need not be for many. Forms are raced in both phases, and what a use takes decides
(`in_use`). Ranges found at run time need no calibration, and are the form that is taken unless
another is faster. Where tokens differ much in size, each row gets a scale of its own.
"""

from collections.abc import Callable, Iterator

import numpy as np
import onnx_ir as ir

from calibration.dataset import CalibrationSet
from calibration.taps import Taps
from compressor.graph.tensors import Array, Arrays
from compressor.plan.plan import GraphPlan
from compressor.plan.realize import realize
from compressor.search.in_use import in_words, raced_in_use
from compressor.search.precision.latency_placement import Placed
from compressor.search.precision.ptq_search import PtqSearch
from compressor.search.precision.regions import DYNAMIC, FLOAT
from compressor.search.precision.sensitivity import SAMPLE, noise, output_energies
from compressor.search.session import Session, Stage

STAGE = "weigh prompt and tokens"
WORTH = 1.03
"""Speed in a use from which another form than ranges found at run time is taken."""
RACE = 0.6
"""Seconds for each phase of a race."""
SPREAD = 3.0
"""dB that scales of its own gain a product's input, from which its rows get them."""
GAIN = 1.0
"""dB at the outputs that they must gain then."""
PROMPTS = 8
"""Samples by which rows are looked at, one at a time."""


def products_in_use(search: PtqSearch) -> None:
    """Choose the form of a decoder's products by both phases; of other graphs nothing."""
    session, placed = search.session, search.placed
    if len(session.prepared.phases.calls) < 2 or placed is None or placed.times is None:
        return
    dynamic = _all_dynamic(placed, search.plan)
    if dynamic is None:
        return
    with session.stage(STAGE) as stage:
        usage = session.recipe.measure.usage
        stage.parameters = {"prompt": usage.prompt, "new": usage.new}
        plan = _faster(search, dynamic, stage)
        plan = _with_rows(search, plan, stage) if plan.dynamic else plan
        tokens = f"{usage.prompt}:{usage.new}"
        search.plan = plan.model_copy(update={"tokens": tokens})
        stage.changed = {
            "dynamic products": len(plan.dynamic),
            "with a scale a row": len(plan.rows),
        }
    search.start = search.start.then(stage.record)


def _all_dynamic(placed: Placed, plan: GraphPlan) -> GraphPlan | None:
    """Every product that can with ranges found at run time, the rest float; None without any."""
    mix = placed.mix
    chosen = [DYNAMIC if can else FLOAT for can in mix.possible[:, DYNAMIC]]
    return mix.plan(chosen, plan) if DYNAMIC in chosen else None


def _faster(search: PtqSearch, dynamic: GraphPlan, stage: Stage) -> GraphPlan:
    """The plan as it is, where that is faster in a use than ranges found at run time."""
    session, plan = search.session, search.plan
    subject = "form of the products"
    if set(plan.dynamic) == set(dynamic.dynamic) and not plan.integer:
        stage.decide(subject, "ranges found at run time", "they are the fastest for one token, too")
        return plan
    with session.progress.stage("race both phases"):
        models = [realize(search.graph, one, session.target) for one in (dynamic, plan)]
        seconds = min(RACE, session.recipe.measure.seconds)
        use = raced_in_use(session, *models, seconds=seconds)
    if use is None:
        stage.decide(subject, "as placed for one token", session.untimed(*models))
        return plan
    kept = use.ratio > WORTH and use.verdict == "faster"
    verdict = "as placed for one token" if kept else "ranges found at run time"
    told = f"as placed for one token it ran, over ranges found at run time, at {in_words(use)}"
    stage.decide(subject, verdict, told)
    return plan if kept else dynamic


def _with_rows(search: PtqSearch, plan: GraphPlan, stage: Stage) -> GraphPlan:
    """A scale for each row of the products whose rows differ, where the outputs gain by it."""
    session, data = search.session, search.data
    if data is None:
        return plan
    with session.progress.stage("look at tokens"):
        gains = spread_of_rows(session, search.graph, plan.dynamic, data)
    rows = tuple(name for name in plan.dynamic if gains.get(name, 0.0) >= SPREAD)
    subject = "scales of tokens"
    if not rows:
        most = max(gains.values(), default=0.0)
        stage.decide(subject, "one for all", f"one a token would gain {most:.1f} dB at most")
        return plan
    candidate = plan.model_copy(update={"rows": rows})
    before, after = (_decibels(search, one, data) for one in (plan, candidate))
    kept = after - before >= GAIN
    told = (
        f"the inputs of {len(rows)} products gain up to {max(gains.values()):.1f} dB, and the "
        f"outputs {after - before:.1f} dB ({before:.1f} before)"
    )
    models = [realize(search.graph, one, session.target) for one in (plan, candidate)]
    seconds = min(RACE, session.recipe.measure.seconds)
    use = raced_in_use(session, *models, seconds=seconds) if kept else None
    if use is not None:
        told = f"{told}, at {in_words(use)}"
    stage.decide(subject, "one a token" if kept else "one for all", told)
    return candidate if kept else plan


def _decibels(search: PtqSearch, plan: GraphPlan, data: CalibrationSet) -> float:
    """Signal to noise at the outputs."""
    session = search.session
    with session.target.open(search.graph, threads=0, timed=False) as original:
        energies = output_energies(session, search.graph, original, plan, data.take(SAMPLE))
    return -10 * float(np.log10(max(noise(energies), 1e-12)))


def spread_of_rows(
    session: Session, model: ir.Model, products: tuple[str, ...], data: CalibrationSet
) -> dict[str, float]:
    """What a scale for each row of its input would gain each product, in dB.

    With one scale the error of a row x is as that of the largest, max |X|² / ‖x‖². With its own it
    is max |x|² / ‖x‖². Compared are the means over rows.

    Args:
        session: The target.
        model: The float graph.
        products: Names of MatMul and Gemm nodes.
        data: Samples; each is looked at alone, as scales are of a call.
    """
    taps = Taps(model)
    inputs = {n.name or "": n.inputs[0] for n in model.graph if n.name in set(products)}
    values = {value.name or "": value for value in inputs.values() if value is not None}
    tapped = {name: value for name, value in values.items() if value.producer() is not None}
    fetched = {name: taps.output(taps.values[name]) for name in tapped}
    sums = {name: np.zeros(2) for name in tapped}
    with session.target.open(taps.finished(), threads=0, timed=False) as runner:
        for made in _runs(runner.run, session, data):
            for name, output in fetched.items():
                sums[name] += row_errors(made[output])
    gains = {
        name: 10 * float(np.log10(one / own)) if own > 0 else 0.0
        for name, (one, own) in sums.items()
    }
    pairs = ((node, "" if value is None else value.name or "") for node, value in inputs.items())
    return {node: gains[name] for node, name in pairs if name in gains}


def _runs(
    run: Callable[[Arrays], dict[str, Array]], session: Session, data: CalibrationSet
) -> Iterator[dict[str, Array]]:
    size = session.prepared.fixed_batch or 1
    for step in data.take(PROMPTS * size).batches(size):
        yield run(step.filled(size) if session.prepared.fixed_batch else step.inputs)


def row_errors(array: Array) -> np.ndarray:
    """Σ over rows of max |X|² / ‖x‖², and of max |x|² / ‖x‖²."""
    rows = array.reshape(-1, array.shape[-1]).astype(np.float64)
    energy = np.square(rows).sum(axis=1)
    rows, energy = rows[energy > 0], energy[energy > 0]
    if len(rows) == 0:
        return np.zeros(2)
    own = np.square(np.abs(rows).max(axis=1))
    return np.array([(own.max() / energy).sum(), (own / energy).sum()])
