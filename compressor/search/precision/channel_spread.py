"""The spread of channels, moved into weights before ranges are taken, where that lowers the error.

Between two layers by cross-layer equalization (Nagel et al. 2019), and from activations into the
weights that read them by SmoothQuant (Xiao et al. 2023). Both compute the same in float.
"""

from collections.abc import Callable

from calibration.scheme import FloatArray
from compressor.plan.realize import decided_graph
from compressor.quantization.bias import restored, stored
from compressor.quantization.equalization import choose_equalization
from compressor.quantization.smoothing import choose_divisors
from compressor.recipe.policy import policy_of
from compressor.results.records import StageRecord
from compressor.search.precision.ptq_search import PtqSearch
from compressor.search.precision.refused_nodes import or_undone

Chooser = Callable[..., tuple[dict[str, FloatArray], StageRecord]]
"""Value → what its channels are divided by, and the stage."""


def cross_layer_equalization(search: PtqSearch) -> None:
    """Give the channels between two layers ranges that are alike."""
    _move(search, "equalize layers", choose_equalization)


def smooth_quant(search: PtqSearch) -> None:
    """Divide activations by what their channels spread, and multiply the weights behind them."""
    _move(search, "smooth activations", choose_divisors)


def _move(search: PtqSearch, stage: str, choose: Chooser) -> None:
    """With what earlier steps moved; without samples there is nothing to choose by."""
    if search.calibrating is None or search.stats is not None:
        return

    def undone(record: StageRecord, reason: str) -> None:
        del reason
        search.start = search.start.then(record)

    or_undone(search.session, stage, lambda: _moved(search, stage, choose), undone)


def _moved(search: PtqSearch, stage: str, choose: Chooser) -> None:
    session, start, options = search.session, search.start, search.session.recipe.quantize
    with session.progress.stage(stage):
        found, record = choose(
            start.graph,
            search.calibrating,
            policy_of(session.target, options),
            batch=options.batch,
            memory=options.memory,
        )
    if record.decisions:
        search.start = start = start.then(record)
    if not found:
        return
    divisors = restored(start.plan.smooth) | found
    moved = {"smooth": stored(divisors)}
    plan = start.plan.model_copy(update=moved)
    search.plan = search.plan.model_copy(update=moved)
    search.start = start.then(plan=plan, graph=decided_graph(start.plain, plan, session.target))
