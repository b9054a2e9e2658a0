"""A model as an engine for just the shapes that it is fed: for comparisons of speed.

Candidates of a search have no output folder. Their engine is built when shapes are known, in a
process of its own, and again where they change: at once for all that a loop is known to feed it,
as a cache that grows would have it built at every token.
"""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import onnx_ir as ir

from compressor.errors import TargetError
from compressor.graph.files import load_model, save_model
from compressor.graph.tensors import Array, Arrays, TensorSpec
from compressor.system.progress import SILENT
from compressor.system.scratch import scratch
from exporters.base import CallShapes
from exporters.trt.backends import PACKAGES, ChosenBackend, Name
from exporters.trt.building import build_engine, settings, write_script
from exporters.trt.cuda import Cuda
from exporters.trt.facts import sparse_layers
from exporters.trt.notation import Profile, Shape, Span, allows
from exporters.trt.options import TrtOptions
from exporters.trt.profiles import of_loop, open_inputs
from exporters.trt.runner import EngineRunner


def open_engine(engine: Path, name: Name) -> EngineRunner:
    """A runner for an engine's file, by the package that built it.

    Raises:
        TargetError: The runtime or the GPU refuses it.
    """
    return EngineRunner(engine, import_module(PACKAGES[name]), Cuda())


class TimedRunner:
    """A `Runner` that builds at its first run.

    Args:
        model: What to build.
        options: Precision, limits and the like.
        chosen: What builds; it has a GPU to run on.
        opener: Opens the engine.
        calls: Shapes of the inputs of a call → how many calls of a loop had them, if it is in one.
    """

    on_caller = False
    """The GPU works."""

    def __init__(
        self,
        model: ir.Model | Path,
        options: TrtOptions,
        chosen: ChosenBackend,
        opener: Callable[[Path, Name], EngineRunner] = open_engine,
        calls: Mapping[CallShapes, int] = MappingProxyType({}),
    ) -> None:
        self._model = load_model(model) if isinstance(model, Path) else model
        self._options, self._chosen, self._opener = options, chosen, opener
        self._profiles: tuple[Profile, ...] = ()
        names = open_inputs(self._model.graph.inputs)
        self._of_loop = of_loop(names, calls)
        self._runner: EngineRunner | None = None
        self._opened = ExitStack()
        self.inputs = tuple(_spec(value) for value in self._model.graph.inputs)
        self.outputs = tuple(_spec(value) for value in self._model.graph.outputs)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self._runner = None
        self._opened.close()

    def run(self, feeds: Arrays) -> dict[str, Array]:
        """Run once, on an engine for these shapes."""
        return self._for(feeds).run(feeds)

    def bind(self, feeds: Arrays) -> Callable[[], None]:
        """Build for these shapes, and copy the inputs once."""
        return self._for(feeds).bind(feeds)

    def _for(self, feeds: Arrays) -> EngineRunner:
        shapes = {spec.name: tuple(feeds[spec.name].shape) for spec in self.inputs}
        if self._runner is None or not self._allows(shapes):
            self._runner = None
            self._opened.close()
            own: Profile = {
                name: Span(*3 * (shapes[name],)) for name in open_inputs(self._model.graph.inputs)
            }
            self._profiles = (own,) if own else ()
            if any(allows(profile, shapes) for profile in self._of_loop):
                self._profiles = self._of_loop
            self._runner = self._built()
        return self._runner

    def _allows(self, shapes: Mapping[str, Shape]) -> bool:
        """Whether the engine is for these; of fixed shapes there is no other."""
        return not self._profiles or any(allows(one, shapes) for one in self._profiles)

    def _settings(self) -> dict[str, Any]:
        return settings(self._options, self._profiles, sparse=sparse_layers(self._model))

    def _built(self) -> EngineRunner:
        folder = Path(self._opened.enter_context(scratch()))
        save_model(self._model, folder / "model.onnx")
        write_script(folder, self._settings())
        built = build_engine(
            folder,
            self._chosen,
            list(self._model.graph),
            cache=self._options.timing_cache,
            time_limit=self._options.time_limit,
            progress=SILENT,
        )
        if built.engine is None or self._chosen.name is None:
            raise TargetError(f"no engine to time: {built.failure}")
        return self._opened.enter_context(self._opener(built.engine, self._chosen.name))


def _spec(value: ir.Value) -> TensorSpec:
    dtype = ir.DataType.FLOAT if value.dtype is None else value.dtype
    sizes = tuple(d if isinstance(d, int) else d.value for d in value.shape or ())
    return TensorSpec(value.name or "", dtype.numpy(), sizes)
