"""ONNX Runtime sessions over `onnx_ir` models: the reference executor of every stage.

A large model is not handed over as bytes, of which protobuf and the runtime make copies: weights
are mapped from the files where they lie. Those that lie in memory, or in several folders, go
through a temporary file, which lives as long as the session is being created.

The runtime's optimizer is native code, which nothing can interrupt: a session is created in a
thread of its own, so that one that never ends does not hold up the run, and Ctrl-C works.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx_ir as ir
from numpy.linalg import LinAlgError

from compressor.errors import CompressorError, GraphError, PruningError
from compressor.graph.files import (
    folder_of_weights,
    initializer_bytes,
    save_model,
    serialize,
    tensors,
    without_weights,
)
from compressor.graph.lean import can_run_unpacked, without_turned_weights
from compressor.graph.runtime import onnx_runtime
from compressor.graph.tensor_bytes import forget_pages
from compressor.system.processors import are_restricted, available_processors
from compressor.system.scratch import scratch

LARGE = 2**26
"""Bytes of weights from which they are mapped from files."""
SECONDS = 300.0
"""What creating a session may take; gigabytes of weights take some ten seconds."""
_WEIGHTS_IN = "session.model_external_initializers_file_folder_path"
INTEGER_REWRITES = ("ReluQuantRewrite", "ClipQuantRewrite")
"""Optimizers that drop what is in front of QuantizeLinear, by the least integer."""


def open_session(
    model: ir.Model | Path,
    *,
    threads: int = 1,
    profile_prefix: Path | None = None,
    optimized_model: Path | None = None,
    optimize: bool = True,
    spin: bool = True,
    integers: bool = True,
    timed: bool = False,
) -> Any:
    """Open an `onnxruntime.InferenceSession` on the CPU.

    Args:
        model: A model in memory, or the path of an ONNX file.
        threads: Intra-operator threads; 0 lets the runtime take every core that it may use.
        profile_prefix: Write the runtime's own profile to files that start so.
        optimized_model: Write the graph that is really executed to this path.
        optimize: Whether the runtime may optimize the graph.
        spin: Whether idle threads spin, as they do by default. It shortens latencies, and slows
            everything else in the process: sessions that take turns are better without.
        integers: Whether Q/DQ may become integer kernels. CPUs without an 8-bit dot product sum
            pairs of products in 16 bits, which saturates with 8-bit weights; without them the
            graph is computed as it stands, and where the optimizer does not come to an end,
            without it. A graph in memory with 8-bit floats always is: ONNX Runtime 1.31 takes
            their Q/DQ for that of integers. It drops a Relu in front of it, as if 0 were the least
            of them, and around MatMul and Reshape makes a graph that it then refuses.
        timed: Whether the runtime may copy large weights into the order of its kernels, as it will
            where the model is deployed.

    Raises:
        GraphError: The runtime refuses the model; the message carries the runtime's own words. Or
            it takes more than `SECONDS` to optimize it.
    """
    integers = integers and not (isinstance(model, ir.Model) and _has_float8(model))
    options = _options(threads, optimize, spin, integers)
    if profile_prefix is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile_prefix)
    if optimized_model is not None:
        options.optimized_model_filepath = str(optimized_model)
    with _loadable(model, options, timed=timed) as source:
        disabled = () if integers else INTEGER_REWRITES
        return _create(source, options, disabled, or_as_it_stands=optimize and not integers)


def is_refusal(error: Exception) -> bool:
    """Whether the runtime refused a graph or failed in it, or one broke a rule, or a solver did."""
    from_runtime = type(error).__module__.startswith("onnxruntime")
    return from_runtime or isinstance(error, GraphError | PruningError | LinAlgError)


def words(error: Exception) -> str:
    """The first line of what was said."""
    said = error.message if isinstance(error, CompressorError) else str(error)
    return (said.strip().splitlines() or [type(error).__name__])[0]


def _options(threads: int, optimize: bool, spin: bool, integers: bool) -> Any:
    onnxruntime = onnx_runtime()

    options = onnxruntime.SessionOptions()
    # The runtime counts affinity itself, but no quota; left to itself it takes physical cores.
    whole = threads == 0 and are_restricted()
    options.intra_op_num_threads = available_processors() if whole else threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    level = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimize else level.ORT_DISABLE_ALL
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spin else "0")
    if not integers:
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    return options


def _has_float8(model: ir.Model) -> bool:
    return any(v.dtype == ir.DataType.FLOAT8E4M3FN for v in model.graph.initializers.values())


@contextmanager
def _loadable(model: ir.Model | Path, options: Any, *, timed: bool) -> Iterator[str | bytes]:
    """What a session can be created from: a path, or bytes, of large models without the weights."""
    if isinstance(model, Path):
        yield str(model)
        return
    if initializer_bytes(model) < LARGE:
        yield serialize(model)
        return
    forget_pages(tensors(model))
    if not timed and can_run_unpacked(model):
        model = without_turned_weights(model)
        options.add_session_config_entry("session.disable_prepacking", "1")
    folder = folder_of_weights(model)
    if folder is not None:
        options.add_session_config_entry(_WEIGHTS_IN, folder)
        yield without_weights(model)
        return
    with scratch() as aside:
        path = Path(aside) / "model.onnx"
        save_model(model, path, apart=True)
        yield str(path)


def _create(
    source: str | bytes, options: Any, disabled: Sequence[str], *, or_as_it_stands: bool
) -> Any:
    """A session; where optimizing takes too long, one that is not optimized if that will do."""
    onnxruntime = onnx_runtime()

    def session() -> Any:
        return onnxruntime.InferenceSession(
            source,
            options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=list(disabled),
        )

    try:
        return _within(SECONDS, session)
    except TimeoutError:
        if not or_as_it_stands:
            raise GraphError(
                f"ONNX Runtime has not loaded the model within {SECONDS:.0f} s",
                hint="Its graph optimizer may not come to an end; the model is probably valid.",
            ) from None
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        return _create(source, options, disabled, or_as_it_stands=False)
    except Exception as error:  # the runtime raises its own classes, unrelated to each other
        raise GraphError(f"ONNX Runtime refuses the model: {error}") from error


def _within(seconds: float, make: Callable[[], Any]) -> Any:
    """What `make` returns or raises; a thread that takes longer is left behind.

    Raises:
        TimeoutError: It took longer.
    """
    made: list[Any] = []
    failed: list[Exception] = []

    def work() -> None:
        try:
            made.append(make())
        except Exception as error:
            failed.append(error)

    thread = threading.Thread(target=work, daemon=True, name="session")
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise TimeoutError
    if failed:
        raise failed[0]
    return made[0]
