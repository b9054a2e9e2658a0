"""The order of post-training quantization, on one screen.

A step is a function of the search; what it does stands in the module of its name. Add one by a line
here. Around the steps stands what is no choice between candidates (`search`): half precision where
the target computes in it comes before, the race against float and small embeddings come after.
"""

from compressor.search.precision.adaptive_rounding import with_rounding
from compressor.search.precision.bias_correction import corrected
from compressor.search.precision.channel_spread import cross_layer_equalization, smooth_quant
from compressor.search.precision.decoder_products import products_in_use
from compressor.search.precision.exact_forms import exact_forms
from compressor.search.precision.latency_placement import placed_by_time
from compressor.search.precision.mixed_precision import mixed_precision
from compressor.search.precision.norm_fusions import with_norms_apart
from compressor.search.precision.ptq_search import Kind, PtqSearch, Refinement, Step
from compressor.search.precision.range_search import other_ranges
from compressor.search.precision.ranges import calibrated_ranges, runtime_ranges
from compressor.search.precision.refused_nodes import runnable
from compressor.search.precision.regions import DYNAMIC

GPTQ = Refinement("round weights", "weights", "rounded together", with_rounding)
BIAS_CORRECTION = Refinement("correct biases", "biases", "corrected", corrected)


def without_refused_layers(search: PtqSearch) -> None:
    """Layers that the runtime does not run in 8 bits stay float."""
    runs = runnable(search.session, search.graph, search.plan)
    search.plan = runs.plan
    search.start = search.start.then(*runs.records, float_reasons=runs.float_reasons)
    if not runs.plan.quantized:
        search.stays_float = f"float ships: {runs.notice}"


def norm_fusions(search: PtqSearch) -> None:
    """Additions stay apart from the norms behind them where that is faster."""
    search.plan, records = with_norms_apart(search.session, search.graph, search.plan)
    search.start = search.start.then(*records)


def latency_placement(search: PtqSearch) -> None:
    """What measures slower in 8 bits than in float stays float."""
    search.placed = placed_by_time(
        search.session, search.graph, search.plan, search.data, pays=search.pays
    )
    search.plan = search.placed.plan
    reasons = search.placed.float_reasons
    search.start = search.start.then(*search.placed.records, float_reasons=reasons)


def as_calibrated(search: PtqSearch) -> None:
    """8 bits wherever they pay."""
    search.propose()


def dynamic_ranges(search: PtqSearch) -> None:
    """Every product that can finds its ranges at run time."""
    placed = search.placed
    if placed is None or search.out_of_time():
        return
    mix = placed.mix
    now = mix.chosen(search.plan)
    chosen = tuple(
        DYNAMIC if can else one for can, one in zip(mix.possible[:, DYNAMIC], now, strict=True)
    )
    if chosen != now:
        name = f"{search.named}, ranges found at run time"
        search.change(name, mix.plan(chosen, search.plan))


def adaptive_rounding(search: PtqSearch) -> None:
    """Weights whose integers make up for each other's errors (GPTQ)."""
    search.refine(GPTQ)


def bias_correction(search: PtqSearch) -> None:
    """Biases that give each channel of an integer layer the mean that it has in float."""
    search.refine(BIAS_CORRECTION)


PTQ_STEPS: tuple[Step, ...] = (
    Step("exact forms", exact_forms, Kind.PREPARES),
    Step("cross-layer equalization", cross_layer_equalization, Kind.PREPARES),
    Step("SmoothQuant", smooth_quant, Kind.PREPARES),
    Step("calibrated ranges", calibrated_ranges, Kind.PREPARES),
    Step("layers that the runtime refuses", without_refused_layers, Kind.PREPARES),
    Step("fusions of norms", norm_fusions, Kind.PREPARES),
    Step("placement by latency", latency_placement, Kind.PREPARES),
    Step("products of decoders", products_in_use, Kind.PREPARES),
    Step("as calibrated", as_calibrated, Kind.FREE),
    Step("dynamic ranges", dynamic_ranges, Kind.COSTS),
    Step("other ranges", other_ranges, Kind.COSTS),
    Step("adaptive rounding (GPTQ)", adaptive_rounding, Kind.FREE),
    Step("bias correction", bias_correction, Kind.FREE),
    Step("mixed precision", mixed_precision, Kind.COSTS),
)
"""Where none of them is accepted float ships, which keeps any budget."""

DYNAMIC_STEPS: tuple[Step, ...] = tuple(
    Step("ranges found at run time", runtime_ranges, Kind.PREPARES)
    if step.take is calibrated_ranges
    else step
    for step in PTQ_STEPS
    if step.take not in (exact_forms, cross_layer_equalization)
)
"""The same where all ranges are found at run time, which takes no calibration."""
