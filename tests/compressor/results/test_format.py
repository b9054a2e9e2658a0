import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressor.results import format as fmt
from compressor.results.measurements import LatencyConfig, QualityResult
from compressor.results.records import Interval

finite = st.floats(-1e12, 1e12, allow_nan=False)


def number(text: str) -> float:
    return float(text.replace(fmt.MINUS, "-").replace(",", ""))


def quality(unit: str, difference: float | None, interval: Interval | None) -> QualityResult:
    return QualityResult(
        metric="m",
        unit=unit,
        higher_is_better=True,
        reference="labels",
        baseline=1.0,
        result=1.0,
        difference=difference,
        interval=interval,
        samples=3,
        data="d",
    )


@given(finite)
def test_significant_keeps_three_digits(value: float) -> None:
    assert number(fmt.significant(value)) == pytest.approx(value, rel=5.01e-3)


@given(finite, st.integers(0, 6))
def test_fixed_is_within_half_a_place(value: float, decimals: int) -> None:
    text = fmt.fixed(value, decimals)
    assert abs(number(text) - value) <= 0.5001 * 10**-decimals + 1e-3 * (abs(value) > 1e9)
    assert "-" not in text


@given(finite)
def test_signed_shows_the_sign_of_what_is_shown(value: float) -> None:
    text = fmt.signed(value, 2)
    shown = number(text)
    assert text.startswith("+") == (shown > 0)
    assert text.startswith(fmt.MINUS) == (shown < 0)


@given(st.integers(0, 10**15))
def test_sizes_are_true_to_a_percent_in_decimal_units(value: int) -> None:
    amount, unit = fmt.size(value).split()
    scale = {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}[unit]
    assert number(amount) * scale == pytest.approx(value, rel=1e-2)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (9.996, "10.0"),
        (0.00009996, "0.000100"),
        (3.21e-7, "3.21e−7"),
        (-0.0123, "−0.0123"),
        (123456.0, "123,456"),
        (math.inf, "∞"),
        (-math.inf, "−∞"),
        (math.nan, "—"),
    ],
)
def test_significant(value: float, text: str) -> None:
    assert fmt.significant(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.03716, "0.0372 ms"), (4.212, "4.21 ms"), (118.4, "118 ms"), (12_340, "12.3 s")],
)
def test_milliseconds(value: float, text: str) -> None:
    assert fmt.milliseconds(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.041, "0.04 s"), (3.24, "3.2 s"), (9.97, "10 s"), (119.4, "119 s"), (185, "3 min 05 s")],
)
def test_seconds(value: float, text: str) -> None:
    assert fmt.seconds(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.557, "1.56×"), (9.996, "10.0×"), (12.34, "12.3×"), (0.0456, "0.0456×"), (0.97, "0.97×")],
)
def test_ratio(value: float, text: str) -> None:
    assert fmt.ratio(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(843, "843"), (999_600, "1.00 M"), (272_474, "272 k"), (0, "0")]
)
def test_count(value: int, text: str) -> None:
    assert fmt.count(value) == text


def test_sizes_side_by_side_share_a_unit() -> None:
    assert fmt.size(287_400) == "287 kB"
    assert fmt.size(287_400, beside=1_094_000) == "0.29 MB"
    assert fmt.size(1_094_000, beside=287_400) == "1.09 MB"


def test_intervals_and_levels() -> None:
    interval = Interval(low=1.518, high=1.6)
    assert fmt.ratio_interval(interval) == "1.52–1.60"
    assert fmt.level(interval) == "95 % interval"
    assert fmt.level(Interval(low=0, high=1, level=0.999)) == "99.9 % interval"


def test_configuration() -> None:
    assert fmt.configuration(LatencyConfig(batch=1, threads=1)) == "batch 1, one thread"
    assert fmt.configuration(LatencyConfig(batch=8, threads=0)) == "batch 8, all threads"
    one = LatencyConfig(batch=1, threads=1, sizes="sequence 1, past 64", phase="decode")
    assert fmt.configuration(one) == "batch 1, decode (sequence 1, past 64), one thread"
    long = one.model_copy(update={"sizes": "sequence_length 1, past_sequence_length 64"})
    assert fmt.configuration(long) == fmt.configuration(one)


@pytest.mark.parametrize(
    ("sizes", "told"),
    [
        ("seq_len 64, h 32", "seq 64, h 32"),
        ("encoder_sequence_length 9, decoder_sequence_length 1", "encoder 9, decoder 1"),
        ("text_len 4, text 9", "text_len 4, text 9"),
        ("len 3", "len 3"),
        ("", ""),
    ],
)
def test_long_names_of_sizes_are_shortened_where_they_stay_different(sizes: str, told: str) -> None:
    assert fmt.size_words(sizes) == told


def test_percentages_differ_by_points_with_two_places() -> None:
    accuracy = quality("%", -0.15, Interval(low=-0.5, high=0.2))
    assert fmt.quality_value(accuracy, 86.8) == "86.80 %"
    assert fmt.quality_difference(accuracy) == "−0.15 points"
    assert fmt.quality_interval(accuracy) == "−0.50…+0.20"


def test_other_metrics_show_two_digits_of_their_difference() -> None:
    error = quality("", 0.0000312, Interval(low=0.00002, high=0.00004))
    assert fmt.quality_value(error, 0.0012345) == "0.001234"
    assert fmt.quality_difference(error) == "+3.1e−5"
    decibels = quality("dB", -0.304, Interval(low=-0.41, high=-0.2))
    assert fmt.quality_value(decibels, 41.2) == "41.20 dB"
    assert fmt.quality_difference(decibels) == "−0.30 dB"


def test_rounding_is_no_difference() -> None:
    cosine = quality("", -1.8e-14, Interval(low=-2.5e-14, high=-1.3e-14))
    cosine = cosine.model_copy(update={"baseline": 1.0, "result": 1.0})
    assert fmt.quality_difference(cosine) == "0"
    assert fmt.quality_interval(cosine) == "0…0"


def test_what_was_not_measured_is_a_dash() -> None:
    unknown = quality("dB", None, None)
    assert fmt.quality_value(unknown, None) == fmt.NOTHING
    assert fmt.quality_difference(unknown) == fmt.NOTHING
    assert fmt.quality_interval(unknown) == fmt.NOTHING


def test_scores_that_are_huge_have_an_exponent() -> None:
    lost = quality("", 0.5, None).model_copy(update={"baseline": 4.7522e28, "result": 4.75e28})
    assert fmt.quality_value(lost, lost.baseline) == "4.752e28"
    assert fmt.quality_difference(lost) == "0"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "—"),
        (True, "yes"),
        (7, "7"),
        (1_132_000, "1,132,000"),
        (0.25, "0.25"),
        (math.nan, "NaN"),
        ("as is", "as is"),
        ((1, 2.5), "1, 2.5"),
        ({"a": [1, "b"]}, "a: 1, b"),
    ],
)
def test_plain(value: object, text: str) -> None:
    assert fmt.plain(value) == text


def test_moment_and_sentence() -> None:
    assert fmt.moment("2026-03-14T15:09:26+00:00") == "2026-03-14 15:09 UTC"
    assert fmt.moment("yesterday") == "yesterday"
    assert fmt.sentence("no data: pass --eval") == "No data: pass --eval."
    assert fmt.sentence("Done.") == "Done."
    assert fmt.sentence("") == ""


def test_decibels_in_words() -> None:
    assert fmt.decibels(23.449) == "23.4 dB"
    assert fmt.decibels(100.0) == "no error"
    assert fmt.decibels(math.nan) == "not finite"
    assert fmt.decibels(None) == "—"


def test_decibels_of_a_ratio_of_noise_to_signal() -> None:
    assert fmt.decibels_of_noise(0.01) == "20.0 dB"
    assert fmt.decibels_of_noise(10.0) == "−10.0 dB"
    assert fmt.decibels_of_noise(0.0) == "no error"
    assert fmt.decibels_of_noise(None) == "—"
