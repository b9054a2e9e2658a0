"""What TensorRT's kernels want and lack, and that policy, target and linter say the same of it."""

import numpy as np
import pytest
from quantized import conv, graph, images

from exporters.base import find_target
from exporters.lint.trt.speed import UNALIGNED, few_channels
from exporters.trt.facts import (
    CHANNELS_8_BITS,
    LEAST_CHANNELS,
    is_matrix_vector,
    thin_channels,
    why_not_fp8,
)
from exporters.trt.graph import layers, prepared
from exporters.trt.policy import why_not_faster


@pytest.mark.parametrize(("window", "has_kernel"), [((4, 8), True), ((3, 11), False)])
def test_fp8_convolutions_have_windows_of_up_to_32_weights(window: tuple[int, int], has_kernel):
    text = "g (float[1,32,16,16] x) => (float[1,32,a,b] y) { y = Conv(x, w) }"
    made = graph(text, w=np.zeros((32, 32, *window), np.float32))
    assert (why_not_fp8(made.graph[0]) is None) == has_kernel


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        ((1, 32), (32, 32), True),
        ((8, 1, 32), (32, 32), False),  # the leading sizes are rows of one product
        ((8, 1, 32), (8, 32, 32), True),  # here there are eight products of one row
        ((8, 32), (32, 1), True),
        ((8, 32), (32,), True),
    ],
)
def test_matrix_vector_products_are_told_by_rows_and_columns(left, right, expected: bool):
    text = f"g (float[{','.join(map(str, left))}] x) => (y) {{ y = MatMul(x, w) }}"
    made = prepared(graph(text, w=np.zeros(right, np.float32)))
    assert is_matrix_vector(made.graph[0]) == expected


@pytest.mark.parametrize("channels", [LEAST_CHANNELS - 1, LEAST_CHANNELS])
def test_policy_and_linter_agree_on_few_channels(channels: int):
    text = f"g (float[1,32,8,8] x) => (float[1,{channels},8,8] y) {{ y = Conv(x, w) }}"
    node = graph(text, w=np.ones((channels, 32, 1, 1), np.float32)).graph[0]
    is_thin = channels < LEAST_CHANNELS
    assert (thin_channels(node) is not None) == is_thin
    assert (why_not_faster(node) is not None) == is_thin


def test_the_linter_finds_nothing_in_layers_that_are_wide_enough():
    ready = prepared(graph(images(conv("x", "y"))))
    assert [thin_channels(node) for node in layers(ready)] == [None]
    assert list(few_channels(ready)) == []


def test_target_and_linter_ask_for_the_same_multiples():
    assert find_target("trt").channel_multiple(integer=True) == CHANNELS_8_BITS
    assert find_target("trt").finer_multiples(CHANNELS_8_BITS) == (16, 8)
    assert f"multiples of {CHANNELS_8_BITS} for 8 bits, else 16, else 8." in UNALIGNED.fix
