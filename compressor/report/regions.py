"""Regions and what each precision costs, in words: the worst first."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from compressor.results import format as fmt
from compressor.results.graph_report import GraphReport
from compressor.results.regions import RegionResult

SHOWN = 6
"""Regions in the table; the rest is folded away below it."""


@dataclass(frozen=True)
class RegionRow:
    """A region: for each precision that it could have the name, its time and its damage."""

    name: str
    operators: str
    chosen: str
    costs: tuple[tuple[str, str, str], ...]

    @property
    def is_untimed(self) -> bool:
        """Whether no precision of it was timed."""
        return all(time == fmt.NOTHING for _, time, _ in self.costs)

    @property
    def is_unjudged(self) -> bool:
        """Whether it was not measured what any precision of it costs."""
        return all(damage in ("", fmt.NOTHING) for _, _, damage in self.costs)


def region_rows(graph: GraphReport) -> tuple[RegionRow, ...]:
    """The rows by falling damage; in graph order where none was measured."""
    return tuple(
        RegionRow(
            name=name_of(region, graph.modules),
            operators=", ".join(dict.fromkeys(region.operators)),
            chosen=region.chosen,
            costs=tuple(
                (
                    choice.precision,
                    fmt.NOTHING if choice.ms is None else f"{1e3 * choice.ms:.1f} µs",
                    "" if choice.precision == "float" else fmt.decibels_of_noise(choice.noise),
                )
                for choice in region.choices
            ),
        )
        for region in sorted(graph.regions, key=worst, reverse=True)
    )


def name_of(region: RegionResult, modules: Mapping[str, str] = MappingProxyType({})) -> str:
    """Its first weighted node, by its module where that is known, and how many more there are."""
    more, first = len(region.nodes) - 1, region.nodes[0]
    return modules.get(first, first) + (f" and {more} more" if more else "")


def worst(region: RegionResult) -> float:
    """What ranks a region: the largest of its damages."""
    losses = [choice.noise for choice in region.choices if choice.precision != "float"]
    return max((loss for loss in losses if loss is not None), default=0.0)


def short(precision: str) -> str:
    """Short name of a precision, for the heads of tables."""
    return precision.removesuffix(" INT8")
