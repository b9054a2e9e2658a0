"""Numbers as people read them: one place, so that terminal, HTML and sentences agree.

Everything here is text out of plain values. Signs are true minus signs, ranges use an en dash
where both ends are positive by nature and an ellipsis where they carry signs (`−0.50…+0.20`).
"""

import math
from collections.abc import Mapping, Sequence
from datetime import datetime

from compressor.results.measurements import LatencyConfig, QualityResult
from compressor.results.records import Interval

NOTHING = "—"
"""Stands where a value was not measured; the reason belongs beside it."""

NO_ERROR = 100.0
"""Signal-to-noise ratio in dB that stands for no error."""

MINUS = "−"
_DECIMAL_UNITS = ("B", "kB", "MB", "GB", "TB")
_SI_PREFIXES = ("", " k", " M", " G", " T", " P")
_SIGNIFICANT = 3
_LARGE = 9
"""Exponent from which on numbers are written with it."""
_ROUNDING = 1e-9
"""A difference below this share of the scores is the rounding of their sums."""


def fixed(value: float, decimals: int) -> str:
    """`decimals` places, grouped by thousands, never a negative zero."""
    if math.isnan(value):
        return NOTHING
    if math.isinf(value):
        return "∞" if value > 0 else f"{MINUS}∞"
    text = f"{abs(value):,.{decimals}f}"
    is_zero = not text.strip("0.,")
    return text if value >= 0 or is_zero else MINUS + text


def significant(value: float, digits: int = _SIGNIFICANT) -> str:
    """A number to so many significant digits; scientific where plain notation would be long."""
    if value == 0 or not math.isfinite(value):
        return fixed(value, 0)
    # Rounding first: 9.996 has its first digit one place higher than it looks.
    exponent = math.floor(math.log10(float(f"{abs(value):.{digits - 1}e}")))
    if not -4 <= exponent < _LARGE:
        mantissa, power = f"{value:.{digits - 1}e}".split("e")
        return f"{mantissa}e{int(power)}".replace("-", MINUS)
    return fixed(value, max(0, digits - 1 - exponent))


def signed(value: float, decimals: int) -> str:
    """`fixed` with a plus sign where positive."""
    text = fixed(value, decimals)
    is_zero = not text.strip("0.,")
    return text if value <= 0 or is_zero or math.isnan(value) else f"+{text}"


def decibels(value: float | None) -> str:
    """`23.4 dB`, `no error`, `not finite`; the sign of nothing where it was not measured."""
    if value is None:
        return NOTHING
    if math.isnan(value):
        return "not finite"
    return "no error" if value >= NO_ERROR else f"{fixed(value, 1)} dB"


def decibels_of_noise(noise: float | None) -> str:
    """The signal-to-noise ratio in dB of a ratio of noise to signal."""
    if noise is None:
        return NOTHING
    return decibels(-10 * math.log10(noise) if noise > 0 else math.inf)


def milliseconds(value: float) -> str:
    """`4.21 ms`, `0.0372 ms`, `118 ms`, `12.3 s`."""
    if value >= 10_000:
        return f"{significant(value / 1000)} s"
    return f"{significant(value)} ms"


def seconds(value: float) -> str:
    """`0.04 s`, `3.2 s`, `48 s`, `3 min 05 s`."""
    if value < 1:
        return f"{fixed(value, 2)} s"
    if value < 9.95:
        return f"{fixed(value, 1)} s"
    if value < 119.5:
        return f"{fixed(value, 0)} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest:02d} s"


def ratio(value: float) -> str:
    """`1.56×`, `12.3×`, `0.046×`."""
    return f"{_ratio(value)}×"


def _ratio(value: float) -> str:
    return fixed(value, 2) if 0.1 <= value < 9.995 else significant(value)


def ratio_interval(interval: Interval) -> str:
    """`1.52–1.60`."""
    return f"{_ratio(interval.low)}–{_ratio(interval.high)}"


def level(interval: Interval) -> str:
    """`95 % interval`."""
    return f"{100 * interval.level:g} % interval"


def size(value: int, beside: int = 0) -> str:
    """Bytes in decimal units: `1.09 MB`; in the unit of `beside` where that is larger."""
    reference = max(abs(value), abs(beside), 1)
    step = min(int(math.log10(reference)) // 3, len(_DECIMAL_UNITS) - 1)
    if step == 0:
        return f"{value} B"
    scaled = value / 1000**step
    return f"{significant(scaled) if scaled >= 1 else fixed(scaled, 2)} {_DECIMAL_UNITS[step]}"


def count(value: int) -> str:
    """`843`, `272 k`, `40.8 M`: a large count in three significant digits."""
    step = 0
    scaled = float(value)
    while abs(scaled) >= 999.5 and step < len(_SI_PREFIXES) - 1:
        scaled /= 1000
        step += 1
    return (str(value) if step == 0 else significant(scaled)) + _SI_PREFIXES[step]


def percent(share: float, decimals: int = 0) -> str:
    """A share of one as `42 %`."""
    return f"{fixed(100 * share, decimals)} %"


def threads(number: int) -> str:
    """`one thread`, `4 threads`, `all threads` (0)."""
    if number == 0:
        return "all threads"
    return "one thread" if number == 1 else f"{number} threads"


def configuration(config: LatencyConfig) -> str:
    """`batch 1, one thread`; `batch 1, sequence 64, one thread` where lengths are open.

    A decoder's is `batch 1, decode (sequence 1, past 64), one thread`.
    """
    sizes = size_words(config.sizes)
    sizes = f"{config.phase} ({sizes})" if config.phase else sizes
    sizes = f"{sizes}, " if sizes else ""
    return f"batch {config.batch}, {sizes}{threads(config.threads)}"


def size_words(sizes: str) -> str:
    """Sizes under shorter names, `past 32, sequence 1` of `past_sequence_length 32, …`.

    Left out is what most such names have in common, where the names stay different.
    """
    pairs = [size.rpartition(" ") for size in sizes.split(", ") if size]
    short = [_short(name) for name, _, _ in pairs]
    if len(set(short)) < len(short):
        return sizes
    return ", ".join(f"{name} {value}" for name, (_, _, value) in zip(short, pairs, strict=True))


def _short(name: str) -> str:
    """The words that tell a size from others."""
    told = [word for word in name.split("_") if word not in ("length", "len")]
    rest = [word for word in told if word not in ("sequence", "seq")]
    return "_".join(rest or told) or name


def moment(text: str) -> str:
    """An ISO 8601 time to the minute, `2026-03-14 15:09 UTC`; anything else as it is."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return text
    return f"{time:%Y-%m-%d %H:%M} {time.tzname() or ''}".rstrip()


def sentence(text: str) -> str:
    """Begun with a capital and ended with a stop; the rest as it is."""
    text = text.strip()
    return begun(text) + ("" if not text or text[-1] in ".!?:" else ".")


def begun(text: str) -> str:
    """Begun with a capital; the rest as it is, as in PSNR."""
    return text[:1].upper() + text[1:]


def plural(number: int, noun: str) -> str:
    """`1 node`, `2 nodes`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def quality_value(quality: QualityResult, value: float | None) -> str:
    """A score in its metric's unit: `86.95 %`, `41.2 dB`, `0.000032`."""
    if value is None or math.isnan(value):
        return NOTHING
    decimals = _decimals(quality)
    text = significant(value, 4) if decimals is None else fixed(value, decimals)
    return f"{text} {quality.unit}".rstrip()


def quality_difference(quality: QualityResult, *, with_unit: bool = True) -> str:
    """The signed difference: `−0.15 points` for percentages, `−0.30 dB`, `+0.0012`."""
    if quality.difference is None or math.isnan(quality.difference):
        return NOTHING
    text = _signed_quality(quality, quality.difference)
    return f"{text} {difference_unit(quality)}".rstrip() if with_unit else text


def quality_interval(quality: QualityResult) -> str:
    """The interval of the difference: `−0.50…+0.20`."""
    if quality.interval is None:
        return NOTHING
    low, high = quality.interval.low, quality.interval.high
    return f"{_signed_quality(quality, low)}…{_signed_quality(quality, high)}"


def loss_words(loss: float, unit: str) -> str:
    """A loss in its metric's unit, a gain with a minus: `0.35 points`, `0.2 dB`, `0.0012`."""
    if unit == "%":
        return f"{fixed(loss, 2)} points"
    return f"{significant(loss, 2)} {unit}".rstrip()


def difference_unit(quality: QualityResult) -> str:
    """Differences of percentages are points; any other difference keeps its unit."""
    return "points" if quality.unit == "%" else quality.unit


def _signed_quality(quality: QualityResult, value: float) -> str:
    scores = [abs(v) for v in (quality.baseline, quality.result) if v is not None]
    if abs(value) < _ROUNDING * max(scores, default=0.0):
        return "0"
    decimals = _decimals(quality)
    if decimals is not None:
        return signed(value, decimals)
    text = significant(value, 2)
    return f"+{text}" if value > 0 else text


def _decimals(quality: QualityResult) -> int | None:
    """Places that show two digits of the difference; None where plain notation would not do."""
    if quality.unit == "%":
        return 2
    ends = () if quality.interval is None else (quality.interval.low, quality.interval.high)
    told = [abs(v) for v in (quality.difference, *ends) if v is not None and math.isfinite(v)]
    scale = max(told, default=0.0)
    if scale == 0:
        return None
    places = 1 - math.floor(math.log10(scale))
    largest = max((abs(v) for v in (quality.baseline, quality.result) if v is not None), default=0)
    return None if places > 5 or largest >= 10**_LARGE else max(places, 0)


def plain(value: object) -> str:
    """A recorded parameter, the same from Python objects and from JSON read back."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}".replace("-", MINUS) if abs(value) >= 10_000 else str(value)
    if isinstance(value, float):
        return _plain_float(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {plain(entry)}" for key, entry in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(plain(entry) for entry in value)
    return NOTHING if value is None else str(value)


def _plain_float(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return f"{value:.4g}".replace("-", MINUS)
