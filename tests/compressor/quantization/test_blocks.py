"""Integers in blocks: the reference, what is packed, and what MatMulNBits makes of it."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.quantization import blocks
from compressor.quantization.blocks import (
    BlockFormat,
    Grid,
    dequantized,
    grid_of,
    nearest,
    packed,
    unpacked,
)
from compressor.quantization.gptq import output_error, rounded

FORMATS = [BlockFormat(bits, 16, symmetric) for bits in (4, 8) for symmetric in (False, True)]


def matrix(outputs: int, inputs: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((outputs, inputs)).astype(np.float32)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(("outputs", "inputs"), [(3, 16), (5, 70), (1, 17), (4, 96)])
def test_what_is_packed_is_what_was_rounded(form: BlockFormat, outputs: int, inputs: int):
    values = matrix(outputs, inputs)
    grid = grid_of(values, form)
    integers = nearest(values, grid, form)
    stored = packed(integers, grid, form)
    np.testing.assert_array_equal(unpacked(stored, inputs, form), dequantized(integers, grid, form))
    zeros = 0 if stored.zeros is None else stored.zeros.nbytes
    assert stored.codes.nbytes + stored.scales.nbytes + zeros == form.bytes(outputs, inputs)


@given(st.sampled_from(FORMATS), st.integers(1, 40), st.integers(0, 2**32 - 1), st.floats(-30, 30))
@settings(max_examples=60, deadline=None)
def test_no_value_is_farther_off_than_its_block_allows(
    form: BlockFormat, inputs: int, seed: int, magnitude: float
):
    values = (matrix(2, inputs, seed) * 10.0**magnitude).astype(np.float32)
    grid = grid_of(values, form)
    found = dequantized(nearest(values, grid, form), grid, form)
    for block in range(form.blocks(inputs)):
        part = slice(block * form.block, (block + 1) * form.block)
        # The whole range is a candidate: half a step of it each bounds the sum of squares.
        span = np.ptp(np.append(values[:, part], np.zeros((2, 1)), axis=1), axis=1)
        step = (2 * span if form.symmetric else span) / (form.levels - 1)
        lost = ((found - values)[:, part] ** 2).sum(axis=1)
        assert (lost <= 1.01 * values[:, part].shape[1] * step.astype(np.float64) ** 2).all()


def test_a_block_of_zeros_stays_zero():
    for form in FORMATS:
        values = np.zeros((2, 20), np.float32)
        grid = grid_of(values, form)
        assert np.isfinite(grid.scales).all()
        assert not dequantized(nearest(values, grid, form), grid, form).any()


def test_inputs_that_count_more_get_the_finer_step():
    values = np.array([[0.1, 0.2, -0.15, 0.05] * 3 + [0.12, 0.07, -0.2, 3.0]], np.float32)
    form = BlockFormat(4, 16, symmetric=False)
    weights = np.array([1.0] * 15 + [1e-4])
    plain, weighted = grid_of(values, form), grid_of(values, form, weights)
    assert weighted.scales[0, 0] < plain.scales[0, 0]


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("seed", range(3))
def test_gptq_loses_less_at_the_outputs_of_correlated_inputs(form: BlockFormat, seed: int):
    rng = np.random.default_rng(seed)
    mixing = np.eye(150) + 0.3 * rng.standard_normal((150, 150))
    seen, held = (rng.standard_normal((2000, 150)) @ mixing for _ in range(2))
    values = matrix(20, 150, seed)
    grid = grid_of(values, form)

    def lost(integers: np.ndarray) -> float:
        return output_error(values - dequantized(integers, grid, form), held.T @ held)

    assert lost(rounded(values, seen.T @ seen, partial(grid.nearest, form=form))) < 0.7 * lost(
        nearest(values, grid, form)
    )


def test_gptq_of_independent_inputs_rounds_to_the_nearest():
    form, values = BlockFormat(4, 16, symmetric=False), matrix(6, 40)
    grid = grid_of(values, form)
    moments = np.diag(np.linspace(1, 2, 40))
    np.testing.assert_array_equal(
        rounded(values, moments, partial(grid.nearest, form=form)), nearest(values, grid, form)
    )


def test_an_input_that_is_always_zero_is_rounded_by_itself():
    rng = np.random.default_rng(0)
    inputs = rng.standard_normal((500, 40)) @ rng.standard_normal((40, 40))
    inputs[:, 7] = 0
    form, values = BlockFormat(4, 16, symmetric=False), matrix(6, 40)
    grid = grid_of(values, form)
    found = rounded(values, inputs.T @ inputs, partial(grid.nearest, form=form))
    np.testing.assert_array_equal(found[:, 7], nearest(values, grid, form)[:, 7])


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.sampled_from([4, 8]), st.booleans(), st.booleans())
def test_shares_that_cannot_win_are_left_out_and_nothing_else(seed, bits, symmetric, weighted):
    """As with every share tried, whatever the weights and what their errors count."""
    rng = np.random.default_rng(seed)
    matrix = rng.standard_normal((3, 70)) * np.exp(rng.normal(0, rng.choice([0, 1, 3]), (3, 70)))
    matrix[rng.random(matrix.shape) < 0.2] = 0
    counts = np.exp(rng.normal(0, 2, 70)) * (rng.random(70) < 0.9) if weighted else None
    form = BlockFormat(bits, 16, symmetric)
    found = grid_of(matrix, form, counts)
    errors = []
    for share in blocks.SHRINK:
        padded = blocks._padded(matrix, form)
        low, high = np.minimum(padded.min(2), 0), np.maximum(padded.max(2), 0)
        scales, zeros = blocks._grid(share * low, share * high, form)
        grid = Grid(scales.astype(np.float32), zeros.astype(np.uint8))
        lost = (matrix - dequantized(nearest(matrix, grid, form), grid, form)) ** 2
        lost = lost if counts is None else lost * counts
        errors.append(blocks._padded(lost, form).sum(2))
    lost = (matrix - dequantized(nearest(matrix, found, form), found, form)) ** 2
    least = blocks._padded(lost if counts is None else lost * counts, form).sum(2)
    np.testing.assert_allclose(least, np.min(errors, axis=0), rtol=1e-6, atol=1e-12)
