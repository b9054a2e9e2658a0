"""Build a TensorRT engine from the ONNX model beside this file, as `compress` would.

    python build_engine.py [--backend tensorrt | tensorrt-rtx] [--output FILE]

It needs Python 3.9 or later and one of the packages `tensorrt` (10 or 11; an engine for the GPU
that it is built on) and `tensorrt_rtx` (an engine that is compiled further on the GPU it runs on;
building needs none), and nothing else. SETTINGS say how; precision is in the graph.
"""

import argparse
import contextlib
import importlib.util
import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SETTINGS: dict[str, Any] = {}

PACKAGES = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}
ENGINES = {"tensorrt": "model.plan", "tensorrt-rtx": "model.rtx.engine"}
LAYERS = {"CONVOLUTION": "Conv", "DECONVOLUTION": "ConvTranspose", "MATRIX_MULTIPLY": "MatMul"}
PARTS = 1000
"""Parts that progress is told in."""
CANCELLED = 130


class BuildError(Exception):
    """Parser or builder refused; what they said is in the answer."""


def main() -> int:
    """Build, and say in words, or in the files that `compress` names, how that went."""
    options = _options()
    answer: dict[str, Any] = {"backend": options.backend}
    told = _teller(options.progress)
    stopped = _stopped_by_signals()
    started = time.perf_counter()
    try:
        trt = importlib.import_module(PACKAGES[options.backend])
        answer["version"] = trt.__version__
        _build(trt, options, answer, told, stopped)
        code = 0
    except ModuleNotFoundError as error:
        needed = "tensorrt (10 or 11) or tensorrt_rtx has to be installed"
        answer["failure"] = f"{error}: {needed} for {sys.executable}"
        code = 4
    except (ImportError, OSError, TypeError) as error:  # TypeError: bindings without libraries
        answer["failure"] = f"{type(error).__name__}: {error}"
        code = 4
    except BuildError as error:
        answer["failure"] = str(error)
        code = CANCELLED if stopped else 1
    answer["cancelled"] = bool(stopped)
    answer["seconds"] = round(time.perf_counter() - started, 3)
    if options.answer:
        Path(options.answer).write_text(json.dumps(answer), encoding="utf-8")
    elif code:
        print(f"error: {shown(answer['failure'])}", file=sys.stderr)
    else:
        print(f"{answer['engine']}: {answer['bytes']:,} bytes in {answer['seconds']} s")
    return code


def shown(text: str) -> str:
    """Text that a terminal only shows: names in it come out of the model's file."""
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)


def _options() -> argparse.Namespace:
    here = Path(__file__).resolve().parent
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--backend", choices=list(PACKAGES), default=_installed())
    parser.add_argument("--onnx", default=str(here / "model.onnx"))
    parser.add_argument("--output", help="default: model.plan or model.rtx.engine beside this file")
    parser.add_argument("--cache", default=str(here / "timing.cache"), help="read and extended")
    parser.add_argument("--answer", help=argparse.SUPPRESS)
    parser.add_argument("--progress", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.output = options.output or str(here / ENGINES[options.backend])
    return options


def _installed() -> str:
    found = (name for name, package in PACKAGES.items() if importlib.util.find_spec(package))
    return next(found, "tensorrt")


def _build(
    trt: Any, options: argparse.Namespace, answer: dict[str, Any], told: Any, stopped: list[int]
) -> None:
    """Parse, configure, build and write the engine.

    Raises:
        BuildError: The parser or the builder refused, or the build was cancelled.
    """
    logger = _logger(trt)
    builder = trt.Builder(logger)
    typed = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(typed)
    parser = trt.OnnxParser(network, logger)
    accepted = bool(parser.parse_from_file(options.onnx))
    answer["errors"] = [_parser_error(parser.get_error(i)) for i in range(parser.num_errors)]
    answer["warnings"] = list(dict.fromkeys(logger.lines["warning"]))
    if not accepted:
        said = [error["text"] for error in answer["errors"]] or logger.lines["error"][-3:]
        raise BuildError(f"the parser refuses {options.onnx}: {'; '.join(said)}")
    answer["layers"] = _layers(network)
    config = builder.create_builder_config()
    _configure(trt, config)
    _add_profiles(builder, config)
    monitor = _monitor(trt, told, stopped)
    config.progress_monitor = monitor
    with _timing_cache(trt, config, options):
        logger.lines["error"].clear()
        engine = builder.build_serialized_network(network, config)
        if stopped:
            raise BuildError("the build was cancelled")
        if engine is None:
            lines = logger.lines["error"][-3:]
            # TensorRT has no code for it: only its log tells.
            answer["out_of_workspace"] = any("workspace limit" in line for line in lines)
            said = "; ".join(lines)
            raise BuildError(f"the builder refuses: {said or 'it gave no reason'}")
    output = Path(options.output)
    aside = output.with_name(f".{output.name}.new")
    try:
        aside.write_bytes(memoryview(engine))
        aside.replace(output)
    finally:
        aside.unlink(missing_ok=True)
    told(PARTS)
    answer["engine"], answer["bytes"] = str(output), output.stat().st_size


def _configure(trt: Any, config: Any) -> None:
    """What SETTINGS say; where they say nothing, TensorRT's own defaults stay."""
    if SETTINGS.get("workspace"):
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, SETTINGS["workspace"])
    if SETTINGS.get("optimization_level") is not None:
        config.builder_optimization_level = SETTINGS["optimization_level"]
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    for name in SETTINGS.get("flags", ()):
        config.set_flag(getattr(trt.BuilderFlag, name))
    if SETTINGS.get("hardware_compatibility"):
        level = getattr(trt.HardwareCompatibilityLevel, SETTINGS["hardware_compatibility"])
        config.hardware_compatibility_level = level


def _add_profiles(builder: Any, config: Any) -> None:
    """One optimization profile for each of SETTINGS; a model of static shapes has none.

    Raises:
        BuildError: Its shapes are not min ≤ opt ≤ max.
    """
    for number, shapes in enumerate(SETTINGS.get("profiles", ())):
        profile = builder.create_optimization_profile()
        for name, (least, most_likely, most) in shapes.items():
            profile.set_shape(name, tuple(least), tuple(most_likely), tuple(most))
        if not profile or config.add_optimization_profile(profile) < 0:
            raise BuildError(f"TensorRT refuses the optimization profile {number}: {shapes}")


@contextlib.contextmanager
def _timing_cache(trt: Any, config: Any, options: argparse.Namespace) -> Iterator[None]:
    """Use the timings of earlier builds, and add those of this one to the file, under a lock.

    TensorRT-RTX has no timing cache.
    """
    if options.backend != "tensorrt":
        yield
        return
    path = Path(options.cache)
    config.set_timing_cache(config.create_timing_cache(_content(path)), False)
    yield
    made = config.get_timing_cache()
    with _locked(path):
        if others := _content(path):
            made.combine(config.create_timing_cache(others), False)
        aside = path.with_name(f".{path.name}.new")
        aside.write_bytes(memoryview(made.serialize()))
        aside.replace(path)


def _content(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock file beside `path`; where the system has no such locks, nothing is held."""
    try:
        import fcntl  # noqa: PLC0415 - does not exist on Windows
    except ImportError:
        yield
        return
    with path.with_name(f".{path.name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _layers(network: Any) -> dict[str, dict[str, int]]:
    """How many convolutions and products of the parsed network read integers, and how many floats.

    Both operands have to be dequantized, with nothing but a change of shape in between.
    """
    made_by: dict[str, Any] = {}
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    for layer in layers:
        for index in range(layer.num_outputs):
            made_by[layer.get_output(index).name] = layer
    counts: dict[str, dict[str, int]] = {"integer": {}, "float": {}}
    for layer in layers:
        operator = LAYERS.get(str(layer.type).rpartition(".")[2])
        if operator is None:
            continue
        operands = [layer.get_input(index) for index in range(min(2, layer.num_inputs))]
        whole = all(_is_dequantized(operand, made_by) for operand in operands)
        kind = "integer" if whole else "float"
        counts[kind][operator] = counts[kind].get(operator, 0) + 1
    return counts


def _is_dequantized(tensor: Any, made_by: dict[str, Any]) -> bool:
    while tensor is not None and (layer := made_by.get(tensor.name)) is not None:
        kind = str(layer.type).rpartition(".")[2]
        if kind == "DEQUANTIZE":
            return True
        if kind not in ("SHUFFLE", "IDENTITY"):
            return False
        tensor = layer.get_input(0)
    return False


def _parser_error(error: Any) -> dict[str, Any]:
    return {
        "code": str(error.code()).rpartition(".")[2],
        "text": error.desc(),
        "index": error.node(),
        "node": error.node_name(),
        "operator": error.node_operator(),
    }


def _logger(trt: Any) -> Any:
    """Keeps what the library logs."""

    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.lines: dict[str, list[str]] = {"warning": [], "error": []}

        def log(self, severity: Any, message: str) -> None:
            if severity == trt.ILogger.WARNING:
                self.lines["warning"].append(message)
            elif severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                self.lines["error"].append(message)

    return Logger()


def _monitor(trt: Any, told: Any, stopped: list[int]) -> Any:
    """Tells progress as parts of `PARTS`, and cancels the build when a signal came."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.begin: dict[str, tuple[float, float]] = {}
            self.steps: dict[str, float] = {}

        def phase_start(self, name: str, parent: str | None, steps: int) -> None:
            low, width = self.begin.get(parent or "", (0.0, 1.0))
            step = self.steps.get(parent or "", 1.0)
            self.begin[name], self.steps[name] = (low, width * step), 1.0 / max(steps, 1)

        def step_complete(self, name: str, step: int) -> bool:
            low, width = self.begin.get(name, (0.0, 1.0))
            done = low + width * self.steps.get(name, 1.0)
            self.begin[name] = (done, width)
            told(int(PARTS * done))
            return not stopped

        def phase_finish(self, name: str) -> None:
            """A phase may end early."""

    return Monitor()


def _teller(progress: str | None) -> Any:
    """Writes each new number of parts as a line to a file."""
    most = [0]

    def tell(parts: int) -> None:
        if progress and parts > most[0]:
            most[0] = parts
            with open(progress, "a", encoding="utf-8") as file:  # noqa: PTH123 - called often
                file.write(f"{parts}\n")

    return tell


def _stopped_by_signals() -> list[int]:
    """The signals that came so far: the builder ends at its next step."""
    came: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda signum, frame: came.append(signum))
    return came


if __name__ == "__main__":
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a crash need not fill the disk
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # native libraries may crash when they are unloaded, which is of no interest
