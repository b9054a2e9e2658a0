"""What the plan of a folded graph means for the parameters that the captured graph came with.

Only this makes a plan of use to the module that was captured: `compressor.apply_plan`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import onnx_ir as ir

from compressor.errors import CompressorError, PruningError
from compressor.folding import equal_outputs, tidied
from compressor.graph.tensors import Arrays
from compressor.plan.decisions import PrunePlan
from compressor.pruning import Grouping, Keep, cut, find_groups
from compressor.pruning.sources import carried_over, slices_of
from compressor.pruning.unfolding import Home, homes_of
from compressor.results.records import StageRecord
from compressor.system.stopwatch import Stopwatch

RTOL = 1e-3
"""Between both forms after the same cut, of the largest magnitude of an output, as for folding."""


@dataclass(frozen=True)
class Provenance:
    """The captured graph beside the float graph that is pruned.

    Attributes:
        captured: The captured graph.
        baseline: The float graph that plans are made for.
        feeds: Inputs to find shapes with and to compare on.
    """

    captured: ir.Model
    baseline: ir.Model
    feeds: Arrays

    def traced(
        self, plan: PrunePlan, grouping: Grouping, keep: Keep, smaller: ir.Model
    ) -> tuple[PrunePlan, StageRecord]:
        """The plan with slices of parameters and homes of new weights, or why there are none.

        Args:
            plan: What was decided.
            grouping: The groups it names.
            keep: What stays of them.
            smaller: The baseline cut so, not repaired.
        """
        watch = Stopwatch()
        notices: tuple[str, ...] = ()
        layers = {name.rpartition("/")[0] for name in plan.weights}
        try:
            if plan.blocks:
                raise PruningError("whole blocks were removed, which a module's code would run")
            found = carried_over(keep, grouping, self.grouping)
            self._compare(found, smaller)
            slices = slices_of(self.captured, self.grouping, found)
            homes = {name: home for name, home in self._homes.items() if name in layers}
            shapes = {name: self._shape(name) for name in slices}
            update = {"slices": slices, "shapes": shapes, "homes": homes}
            plan = plan.model_copy(update=update)
            if layers - homes.keys():
                notices = (_homeless(sorted(layers - homes.keys())),)
        except CompressorError as error:
            plan = plan.model_copy(update={"unsliced": error.message})
            notices = (f"the plan cannot be applied to the source module: {error.message}",)
        record = StageRecord(
            name="trace to the source",
            seconds=watch.seconds,
            changed={
                "parameters sliced": len(plan.slices),
                "repaired layers with a home": len(plan.homes),
                "repaired layers without": 0 if plan.unsliced else len(layers - plan.homes.keys()),
            },
            notices=notices,
        )
        return plan, record

    @cached_property
    def _plain(self) -> ir.Model:
        return tidied(self.captured)

    @cached_property
    def grouping(self) -> Grouping:
        """The groups of the captured graph."""
        return find_groups(self._plain, self.feeds)

    def _shape(self, name: str) -> tuple[int, ...]:
        tensor = self.captured.graph.initializers[name].const_value
        assert tensor is not None, "what can be sliced has values"
        return tuple(tensor.shape.numpy())

    @cached_property
    def _homes(self) -> Mapping[str, Home]:
        return homes_of(self._plain, self.baseline, self.captured.graph.initializers.keys())

    def _compare(self, keep: Keep, smaller: ir.Model) -> None:
        """Refuse a keep-set that does not make the same of both forms."""
        again = cut(self._plain, self.grouping, keep)
        difference = equal_outputs(smaller, again, self.feeds, RTOL)
        if not difference.equal:
            raise PruningError(
                f"the captured graph cut alike differs in {difference.output!r} by "
                f"{difference.max_abs:.3g}"
            )


def _homeless(layers: list[str]) -> str:
    more = f" and {len(layers) - 3} more" if len(layers) > 3 else ""
    return (
        f"{', '.join(layers[:3])}{more}: these repaired layers are more than a parameter and its "
        "BatchNorm, so that applying the plan to the source module leaves their weights unrepaired"
    )
