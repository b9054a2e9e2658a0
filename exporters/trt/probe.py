"""Does a small engine run here, and to the right numbers? Asked in a process of its own.

    python -P -m exporters.trt.probe BACKEND ANSWER

A runtime without its driver, or with a GPU that it has no kernels for, may end the process.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnx_ir as ir

from compressor.errors import CompressorError
from exporters.trt.backends import PACKAGES, ChosenBackend, Name
from exporters.trt.options import TrtOptions
from exporters.trt.timed import TimedRunner

MODEL = '<ir_version: 8, opset_import: ["": 18]> g (float[4] x) => (float[4] y) { y = Relu(x) }'


def why_not_running(name: Name) -> str | None:
    """Why engines do not run; None where they do."""
    x = np.array([-1, 0, 1, 2], np.float32)
    try:
        with TimedRunner(ir.from_onnx_text(MODEL), TrtOptions(), ChosenBackend(name)) as runner:
            y = runner.run({"x": x})["y"]
            runner.bind({"x": x})()
    except CompressorError as error:
        return str(error)
    return None if np.array_equal(y, np.maximum(x, 0)) else "an engine computed wrong numbers"


if __name__ == "__main__":
    name = next(name for name in PACKAGES if name == sys.argv[1])
    Path(sys.argv[2]).write_text(json.dumps({"reason": why_not_running(name)}), encoding="utf-8")
