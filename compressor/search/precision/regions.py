"""Mixed precision: the regions of a graph, what each can be, and the plan that choices make."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from compressor.plan.plan import GraphPlan
from compressor.quantization.dynamic import place_dynamic
from compressor.quantization.placement import restricted
from compressor.quantization.regions import MOST, Region, divided
from compressor.results.regions import RegionPrecision
from exporters.base import QuantPolicy

CHOICES: Final = ("float", "static INT8", "dynamic INT8")
FLOAT, STATIC, DYNAMIC = range(len(CHOICES))


@dataclass(frozen=True)
class Mix:
    """A graph divided into regions.

    Attributes:
        model: The float graph.
        whole: The plan with everything integer that can be, whose ranges serve every part of it.
        policy: With the schemes of that plan.
        regions: In graph order.
        edges: Pairs of regions (front, behind) that hand each other values that may be integer.
        possible: (regions, choices).
        dynamic: The nodes that could find their ranges at run time.
    """

    model: ir.Model
    whole: GraphPlan
    policy: QuantPolicy
    regions: tuple[Region, ...]
    edges: tuple[tuple[int, int], ...]
    possible: npt.NDArray[np.bool_]
    dynamic: frozenset[str]

    def plan(self, chosen: Sequence[int], base: GraphPlan | None = None) -> GraphPlan:
        """The plan that gives each region its choice.

        What biases and weights were given stays with their nodes, though what is in front of them
        may be float now.

        Args:
            chosen: An index of `CHOICES` for each region.
            base: A plan with other ranges or biases than `whole`; what it runs as integer does
                not count.
        """
        base = self.whole if base is None else base
        static = self._weighted(chosen, STATIC)
        integer = restricted(self.model, self.whole.integer, static, self.policy)
        dynamic = tuple(name for name in self._weighted(chosen, DYNAMIC) if name in self.dynamic)
        # In a region of several nodes, those that have no static form.
        dynamic += tuple(name for name in static if name in self.whole.dynamic)
        # In bodies of control flow, which are in no region.
        divided = {name for region in self.regions for name in region.weighted}
        dynamic += tuple(name for name in self.whole.dynamic if name not in divided)
        bias = {name: stored for name, stored in base.bias.items() if name in set(integer)}
        quantized = {*integer, *dynamic}
        rounded = {name: codes for name, codes in base.rounded.items() if name in quantized}
        update = {"integer": integer, "dynamic": dynamic, "bias": bias, "rounded": rounded}
        return base.model_copy(update=update)

    @property
    def names(self) -> tuple[RegionPrecision, ...]:
        """Names of `CHOICES` in the report: what is not float may be 8-bit floats."""
        return ("float", "FP8", "FP8") if self.policy.precision == "fp8" else CHOICES

    def floats(self, chosen: Sequence[int]) -> tuple[str, ...]:
        """The weighted nodes of the regions that are float."""
        return self._weighted(chosen, FLOAT)

    def chosen(self, plan: GraphPlan) -> tuple[int, ...]:
        """The choices that make a plan."""
        static, dynamic = set(plan.integer), set(plan.dynamic)
        return tuple(
            STATIC
            if static.intersection(region.weighted)
            else DYNAMIC
            if dynamic.intersection(region.weighted)
            else FLOAT
            for region in self.regions
        )

    def _weighted(self, chosen: Sequence[int], choice: int) -> tuple[str, ...]:
        return tuple(
            name
            for region, one in zip(self.regions, chosen, strict=True)
            if one == choice
            for name in region.weighted
        )


def mixed(
    model: ir.Model,
    whole: GraphPlan,
    policy: QuantPolicy,
    most: int = MOST,
    *,
    leave: Sequence[str] = (),
) -> Mix:
    """Divide a graph by what could be integer in it.

    Args:
        model: The float graph.
        whole: The plan with everything integer that can be.
        policy: With the schemes of that plan.
        most: Regions at most.
        leave: Patterns of names of nodes or weights that stay float.
    """
    dynamic = frozenset(place_dynamic(model, policy, leave).integer)
    static = {n.name or "" for n in model.graph if n.op_type in policy.weighted}
    static &= set(whole.integer)
    regions = divided(model, static | dynamic, whole.integer, most)
    edges = {
        (front, behind) for behind, region in enumerate(regions) for front in region.reads.values()
    }
    possible = np.array(
        [
            [True, bool(static.intersection(r.weighted)), bool(dynamic.intersection(r.weighted))]
            for r in regions
        ]
    ).reshape(-1, len(CHOICES))
    return Mix(model, whole, policy, regions, tuple(sorted(edges)), possible, dynamic)
