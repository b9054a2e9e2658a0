"""A source as it is, before it is captured: for what can only be known by running it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Self

from calibration.fields import Signature
from compressor.capture.signature import taken
from compressor.capture.source import ModelSource
from compressor.errors import CaptureError
from compressor.graph.tensors import Array, Arrays, TensorSpec
from exporters.base import Runner, Target


class EagerRunner:
    """A torch module, TorchScript or exported program, called with named arrays.

    Its inputs are found by the names of the first call, which has to name all that are needed. Its
    outputs have the names that they will have in the captured graph.
    """

    on_caller = False

    def __init__(self, source: ModelSource, declared: Sequence[TensorSpec] = ()) -> None:
        """Keep the source, which is called as it is.

        Args:
            source: What is called.
            declared: Inputs whose type and shape the user said.
        """
        self._source, self._declared = source, tuple(declared)
        self._evaluate: dict[tuple[str, ...], Callable[[Arrays], Mapping[str, Array]]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        pass

    @property
    def signature(self) -> Signature | None:
        """What it is known to take: the parameters of `forward`, and what was declared."""
        return taken(self._source, self._declared)

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Not known before capture."""
        return ()

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """Not known before capture."""
        return ()

    def run(self, feeds: Arrays) -> dict[str, Array]:
        """Call it.

        Raises:
            CaptureError: It fails, or its parameters are not called so.
        """
        names = tuple(feeds)
        if names not in self._evaluate:
            self._evaluate[names] = self._bound(names)
        return dict(self._evaluate[names](feeds))

    def bind(self, feeds: Arrays) -> Callable[[], None]:
        """A call as it is."""

        def run() -> None:
            self.run(feeds)

        return run

    def _bound(self, names: tuple[str, ...]) -> Callable[[Arrays], Mapping[str, Array]]:
        import torch  # noqa: PLC0415 - a job from ONNX never imports it

        from compressor.capture.binding import bind, signature  # noqa: PLC0415
        from compressor.capture.program import flat_program  # noqa: PLC0415
        from compressor.capture.reference import flat_module  # noqa: PLC0415

        source = self._source
        if source.kind == "exported program":
            flat = flat_program(source.program, names)
        else:
            known = signature(source.module)
            strange = [name for name in names if name not in known.names]
            if strange and not known.any_more:
                raise CaptureError(
                    f"{source.description} takes {', '.join(known.names)}, and not {strange[0]!r}"
                )
            source.module.eval()
            flat = flat_module(source.module, bind(source.module, names))

        def evaluate(feeds: Arrays) -> Mapping[str, Array]:
            with torch.no_grad():
                return flat.evaluate(feeds, source.description)[0]

        return evaluate


def runs_as_it_is(
    source: ModelSource, target: Target, declared: Sequence[TensorSpec] = ()
) -> Runner:
    """A source that runs, on the target where it is a graph already.

    Args:
        source: What runs.
        target: Runs graphs.
        declared: Inputs whose type and shape the user said.
    """
    if source.model is not None:
        return target.open(source.model, threads=0, timed=False)
    return EagerRunner(source, declared)
