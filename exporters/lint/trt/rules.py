"""Every rule, in the order of a report: what is rejected or misread before what is slow."""

from collections.abc import Callable, Iterator

import onnx_ir as ir

from exporters.lint.base import Finding
from exporters.lint.trt import (
    axes,
    encoding,
    fusion,
    interface,
    operators,
    placement,
    speed,
    types,
)

RULES: tuple[Callable[[ir.Model], Iterator[Finding]], ...] = (
    operators.unsupported,
    types.element_types,
    encoding.zero_point,
    encoding.unsigned,
    encoding.int32_bias,
    encoding.integer_type,
    encoding.scale,
    encoding.scale_shape,
    types.mixed_types,
    types.opset,
    axes.per_channel_activation,
    axes.weight_axis,
    operators.foreign,
    placement.float_island,
    placement.one_sided,
    fusion.residual_add,
    fusion.concat_scales,
    fusion.batch_norm,
    placement.keep_float,
    speed.few_channels,
    speed.fp8_convolution,
    speed.matrix_vector,
    interface.names,
    placement.lonely_pool,
    placement.quantized_output,
    speed.unaligned_channels,
    interface.dynamic_shapes,
)
"""Each takes a graph of `graph.prepared` and yields its findings in graph order."""
