"""NNCF's post-training quantization of an ONNX graph for OpenVINO, in an environment of its own.

    PYTHON benchmarks/runtimes_nncf.py MODEL.onnx CALIB.npz OUT.xml network|transformer

`nncf.quantize` as its guide has it, "mixed" preset and bias correction by default, over all of the
calibration samples, one at a time. It needs nncf, openvino and numpy, and nothing of ours.
"""

import sys
from typing import Any

import numpy as np


def main() -> None:
    """Quantize and write."""
    import nncf  # noqa: PLC0415 - an environment of its own has it
    import openvino  # noqa: PLC0415 - likewise

    source, data, target, kind = sys.argv[1:]
    with np.load(data) as stored:
        arrays = {name: stored[name] for name in stored.files}
    count = len(next(iter(arrays.values())))
    samples: list[dict[str, Any]] = [
        {name: array[i : i + 1] for name, array in arrays.items()} for i in range(count)
    ]
    found = nncf.quantize(
        openvino.Core().read_model(source),
        nncf.Dataset(samples),
        preset=nncf.QuantizationPreset.MIXED,
        model_type=nncf.ModelType.TRANSFORMER if kind == "transformer" else None,
        subset_size=count,
    )
    openvino.save_model(found, target, compress_to_fp16=False)


if __name__ == "__main__":
    main()
