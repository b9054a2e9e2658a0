"""The child process of `parser`: let TensorRT-RTX parse one model and write down what it said.

    python -P child.py MODEL ANSWER

Run as a file, it imports nothing of this project: what crashes or hangs here is the parser.
"""

import importlib
import json
import sys
from pathlib import Path
from typing import Any

PACKAGE = "tensorrt_rtx"


def main(model: str, answer: str) -> None:
    """Write {"accepted", "errors", "warnings"}, or {"unavailable": why} to `answer`."""
    _leave_no_core()
    try:
        said = parse(model)
    except (ImportError, OSError, TypeError) as error:  # TypeError: no libraries for the bindings
        said = {"unavailable": f"{PACKAGE} does not start: {error}"}
    Path(answer).write_text(json.dumps(said), encoding="utf-8")


def parse(model: str) -> dict[str, Any]:
    """What the parser says to a model as a strongly typed network."""
    trt = importlib.import_module(PACKAGE)
    lines: dict[str, list[str]] = {"warning": [], "error": []}

    class Logger(trt.ILogger):  # type: ignore[misc, name-defined]
        """Keeps what the library logs; it would go to the terminal."""

        def __init__(self) -> None:
            super().__init__()

        def log(self, severity: Any, message: str) -> None:
            if severity == trt.ILogger.WARNING:
                lines["warning"].append(message)
            elif severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                lines["error"].append(message)

    logger = Logger()
    builder = trt.Builder(logger)
    typed = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(typed)
    parser = trt.OnnxParser(network, logger)
    accepted = bool(parser.parse_from_file(model))
    errors = [parser.get_error(index) for index in range(parser.num_errors)]
    return {
        "accepted": accepted,
        "errors": [
            {
                "code": str(error.code()).rpartition(".")[2],
                "text": error.desc(),
                "index": error.node(),
                "node": error.node_name(),
                "operator": error.node_operator(),
            }
            for error in errors
        ],
        "warnings": list(dict.fromkeys(lines["warning"])),
        "log": lines["error"][-5:],
    }


def _leave_no_core() -> None:
    """A crash is expected here; its memory need not fill the disk."""
    if sys.platform != "win32":
        import resource  # noqa: PLC0415 - does not exist on Windows

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
