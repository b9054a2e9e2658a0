"""Where and how a target wants a graph to be quantized."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import onnx_ir as ir

from calibration.scheme import Scheme
from compressor.results.precision import EightBits


@dataclass(frozen=True)
class QuantPolicy:
    """Where and how a target wants Q/DQ.

    Attributes:
        activation: Scheme of activations (per tensor).
        weight: Scheme of weights (per output channel).
        bias: "int32" when biases pass through DequantizeLinear, "float" when they stay.
        weighted: Operators with a weight that have an integer kernel.
        elementwise: Other operators with an integer kernel; they join only between integer ones.
        passthrough: Operators that move values without changing them, which must see one scale
            on both sides.
        absorbed: Activations that vanish into the output quantization of their producer.
        float_output: Weighted operators whose output may stay float without losing the kernel.
        dynamic: Operators that gain from activations that are quantized at run time; those that
            are not weighted have no other integer form.
        barred: Operators that would be dynamic, were ranges found at run time not forbidden.
        why_not_faster: Why the integer kernel of a weighted node loses to the float one; None when
            it does not.
        why_not_integer: Why the integer kernel of a node that is not weighted is refused, or
            computes something else than the float one, for its attributes; None where it does not.
            Tests hold it against the runtime, operator by operator.
        inputs_only: Whether Q/DQ stands only on what integer nodes read, and the runtime fuses
            what lies between by itself; else integer nodes form regions, whose inner values all
            pass Q/DQ.
    """

    activation: Scheme
    weight: Scheme
    bias: Literal["int32", "float"]
    weighted: frozenset[str]
    elementwise: frozenset[str]
    passthrough: frozenset[str]
    absorbed: frozenset[str]
    float_output: frozenset[str]
    dynamic: frozenset[str] = frozenset()
    barred: frozenset[str] = frozenset()
    why_not_faster: Callable[[ir.Node], str | None] = lambda node: None
    why_not_integer: Callable[[ir.Node], str | None] = lambda node: None
    inputs_only: bool = False

    @property
    def precision(self) -> EightBits:
        """What its layers compute in."""
        return "fp8" if self.activation.is_float else "int8"

    def without_kernel(self, operator: str) -> str:
        """Why an operator that is not among its operators is never integer."""
        if operator in self.barred:
            return (
                f"{operator} is integer only with ranges found at run time, which "
                "--quantize int8-static forbids"
            )
        return f"{operator} has no integer kernel"

    def with_schemes(
        self,
        *,
        activation: Literal["uint8", "int8"] | None = None,
        symmetric: bool | None = None,
        weight_bits: int | None = None,
        pairs: bool | None = None,
        granularity: Literal["channel", "tensor"] | None = None,
    ) -> "QuantPolicy":
        """The policy with other schemes; None keeps what the target prefers.

        An activation is absorbed because its lower bound falls on the least integer, which a
        symmetric scheme cannot give: then none is absorbed.
        """
        dtype = activation or self.activation.dtype
        even = self.activation.symmetric if symmetric is None else symmetric
        per_channel = self.weight.per_channel if granularity is None else granularity == "channel"
        return replace(
            self,
            activation=replace(self.activation, dtype=dtype, symmetric=even),
            weight=replace(
                self.weight,
                bits=weight_bits or self.weight.bits,
                pairs=self.weight.pairs if pairs is None else pairs,
                per_channel=per_channel,
            ),
            absorbed=frozenset() if even and not self.activation.symmetric else self.absorbed,
        )
