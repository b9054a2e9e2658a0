"""The precision of a float graph that was decided on: what measures better is kept."""

from dataclasses import replace

from calibration.dataset import CalibrationSet
from calibration.scheme import FloatArray
from calibration.stats import CalibrationStats
from compressor.quantization.own_weights import with_own_weights
from compressor.results.precision import EIGHT_BITS, STORED
from compressor.results.records import StageRecord
from compressor.search.acceptance import Acceptance
from compressor.search.candidate import Outcome
from compressor.search.precision.embeddings import with_small_tables
from compressor.search.precision.exact_forms import float_forms
from compressor.search.precision.half import with_half
from compressor.search.precision.latency_placement import Placed
from compressor.search.precision.ptq_search import PtqSearch
from compressor.search.precision.ptq_steps import DYNAMIC_STEPS, PTQ_STEPS
from compressor.search.precision.race import kept_if_faster
from compressor.search.precision.refused_nodes import or_undone
from compressor.search.precision.tied_tables import with_tied_tables
from compressor.search.precision.weight_only import Train, with_stored_weights
from compressor.search.session import Session
from compressor.system.sparing import spared, unfinished


def with_precision(
    session: Session,
    start: Outcome,
    data: CalibrationSet | None,
    acceptance: Acceptance,
    stats: CalibrationStats | None = None,
    *,
    favoured: bool = False,
    pays: bool = False,
    train: Train | None = None,
) -> Outcome:
    """Quantize the float graph that was decided on, and keep that if it pays.

    Args:
        session: How to measure.
        start: From `undecided`, pruned or not.
        data: Calibration samples.
        acceptance: The quality budget, or none.
        stats: What was collected from such samples earlier. Without either the graph stays float,
            unless ranges are found at run time.
        favoured: Whether 8 bits ship where no difference in speed is found.
        pays: Whether all regions are known to pay as integers, so that none has to be timed.
        train: Trains integers of few bits that the budget refuses.

    Raises:
        DataError: The statistics are of another graph.
        KeyboardInterrupt: Before there was a best so far.
    """

    def undone(record: StageRecord, reason: str) -> Outcome:
        return start.then(record, reason=f"float ships: {reason}")

    def work() -> Outcome:
        return _with_precision(
            session, start, data, stats, acceptance, favoured=favoured, pays=pays, train=train
        )

    return or_undone(session, "quantization", work, undone)


def _with_precision(
    session: Session,
    start: Outcome,
    data: CalibrationSet | None,
    stats: CalibrationStats | None,
    acceptance: Acceptance,
    *,
    favoured: bool,
    pays: bool,
    train: Train | None,
) -> Outcome:
    """The same, where the runtime takes what is made."""
    mode = session.recipe.quantize.mode
    start = with_half(session, start, data)
    if mode == "none":
        return start.then(reason="quantization was switched off (--quantize none)")
    if not session.target.quantizes:
        return start.then(reason="nothing was quantized: the target is asked to compute in float")
    if mode in STORED:
        return with_stored_weights(session, start, data, acceptance, train)
    start = start.then(graph=with_own_weights(start.graph))
    search = PtqSearch(
        session,
        acceptance,
        start,
        start.plan,
        calibrating=data,
        data=acceptance.samples if data is None and acceptance.asked is not None else data,
        stats=stats,
        pays=pays,
    )
    search.run(DYNAMIC_STEPS if mode == "int8-dynamic" else PTQ_STEPS)
    found = _decided(search, favoured=favoured)
    if found.plan.ship in EIGHT_BITS:
        return found
    plan = found.plan.model_copy(update={"forms": {}, "smooth": {}, "plain_norms": False})
    return float_forms(session, found.then(plan=plan))


def _decided(search: PtqSearch, *, favoured: bool) -> Outcome:
    if search.stays_float is not None:
        return search.start.then(reason=search.stays_float)
    found = kept_if_faster(search, favoured=favoured)
    found = with_tied_tables(search.session, found, search.acceptance)
    found = with_small_tables(search.session, found, search.acceptance)
    assert search.placed is not None, "a step of every search"
    return _with_regions(found, search.placed, search.damage)


def _with_regions(found: Outcome, placed: Placed, damage: FloatArray | None) -> Outcome:
    """What each region costs, for the report; a notice where that cannot be told."""

    def missing(reason: str) -> Outcome:
        notice = unfinished("tell regions", reason)
        return found.then(StageRecord(name="tell regions", seconds=0.0, notices=(notice,)))

    return spared(lambda: replace(found, regions=placed.results(found.plan, damage)), missing)
