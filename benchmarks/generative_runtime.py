"""What ONNX Runtime's own quantizers make of the samples' graphs."""

import io
import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np

from compressor.commands.loop_job import Units
from compressor.commands.loop_tracing import CALLS
from compressor.pipelines.loop import SEED, Loop, UserLoop
from compressor.pipelines.tracing import Trace, recorded
from exporters.base import find_target
from generative_sample import Sample

STEPS = 20
"""Calls of the U-Net a unit."""
BLOCK = 32
"""Weights that share a scale, as ours have by default."""


@contextmanager
def quiet() -> Iterator[None]:
    """Without what the quantizers print."""
    logging.disable(logging.WARNING)
    with redirect_stdout(io.StringIO()):
        yield


def quantized_static(sample: Sample, source: Path, to: Path, traced: int) -> None:
    """`quantize_static` (QDQ, U8S8, per channel, min/max) on the calls that `compress` recorded.

    Args:
        sample: Its loop is run anew on the seeds that calibrated, and recorded as it was then.
        source: The U-Net in float.
        to: Where the result goes.
        traced: Units that calibrated.
    """
    from onnxruntime import quantization  # noqa: PLC0415 - torch and this do not get along early

    loop = UserLoop(sample.generate, sample.name)
    target = find_target("ort")
    with tempfile.TemporaryDirectory() as name:
        trace = Trace(Path(name), CALLS, 0, {"unet": STEPS})
        openers = recorded({"unet": lambda: target.open(source, threads=0)}, trace.record)
        with Loop(loop, openers) as tracing:
            for batch in Units(0, 2, traced).of(0, traced).batches(1):
                trace.began()
                tracing.run({SEED: np.asarray(batch.inputs[SEED])})
        calls = trace.calls("unet")()

        class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
            def get_next(self) -> dict[str, Any] | None:
                return next(calls, None)

        with quiet():
            quantization.quantize_static(
                source,
                to,
                Reader(),
                quant_format=quantization.QuantFormat.QDQ,
                per_channel=True,
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
                calibrate_method=quantization.CalibrationMethod.MinMax,
            )


def quantized_dynamic(source: Path, to: Path) -> None:
    """`quantize_dynamic` with a weight scale a channel.

    It transposes weights and keeps their noted shapes, over which it stumbles then: without those.
    """
    import onnx  # noqa: PLC0415 - as above
    from onnxruntime import quantization  # noqa: PLC0415 - as above

    model = onnx.load(source)
    del model.graph.value_info[:]
    with quiet():
        quantization.quantize_dynamic(
            model, to, per_channel=True, weight_type=quantization.QuantType.QInt8
        )


def quantized_4bit(source: Path, to: Path) -> None:
    """`MatMulNBitsQuantizer`: 4 bits in blocks of 32, activations rounded in blocks."""
    import onnx  # noqa: PLC0415 - as above
    from onnxruntime.quantization.matmul_nbits_quantizer import (  # noqa: PLC0415 - as above
        MatMulNBitsQuantizer,
    )

    with quiet():
        quantizer = MatMulNBitsQuantizer(onnx.load(source), block_size=BLOCK, accuracy_level=4)
        quantizer.process()
        quantizer.model.save_model_to_file(str(to), False)
