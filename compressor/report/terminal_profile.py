"""A profile for the terminal: where the time goes and what holds it back."""

from collections.abc import Iterable

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from compressor.report.figures_table import figures_table
from compressor.report.spoken import Speak, Spoken
from compressor.results import format as fmt
from compressor.results.measurements import Ceilings, NodeProfile, OperatorProfile, Profile


def profile_table(profile: Profile, top: int = 15) -> RenderableType:
    """Whole inference, operators by falling time, the `top` slowest nodes, and the ceilings."""

    def build(speak: Speak) -> Iterable[RenderableType]:
        yield Text(speak(_whole(profile)), style="bold")
        yield Text("")
        yield _operators(profile, speak)
        yield Text("")
        yield _nodes(profile, top, speak)
        if len(profile.nodes) > top:
            yield Text(speak(_unlisted(profile, top)), style="dim")
        yield Text("")
        for sentence in profile.advice:
            yield Text(speak(sentence))
        yield Text(speak(_ceilings(profile.ceilings)), style="dim")

    return Spoken(build)


def _whole(profile: Profile) -> str:
    """Latency and memory of the model in its configuration."""
    where = [] if profile.batch is None else [f"batch {profile.batch}"]
    where.append(fmt.threads(profile.threads))
    memory = (
        f"not measured ({profile.memory_reason or 'not asked for'})"
        if profile.memory_bytes is None
        else fmt.size(profile.memory_bytes)
    )
    return (
        f"{profile.source}: {fmt.milliseconds(profile.latency.median_ms)} "
        f"(p95 {fmt.milliseconds(profile.latency.p95_ms)}) at {', '.join(where)}; "
        f"peak memory {memory}"
    )


def _operators(profile: Profile, speak: Speak) -> Table:
    table = figures_table("operator", "nodes", "time", "share", "MACs", "bytes")
    table.add_column("bound by")
    for row in profile.operators:
        cells = (row.operator, str(row.nodes), *_amounts(row), row.bound or fmt.NOTHING)
        table.add_row(*(Text(speak(cell)) for cell in cells))
    return table


def _nodes(profile: Profile, top: int, speak: Speak) -> Table:
    """The slowest nodes; `of it` is the share of its lowest ceiling that a node attains."""
    table = figures_table(f"slowest of {fmt.plural(len(profile.nodes), 'node')}", "time", "share")
    for heading in ("MACs", "bytes"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("bound by")
    table.add_column("attained", justify="right", no_wrap=True)
    for node in _slowest(profile)[:top]:
        attained = fmt.NOTHING if node.attained is None else fmt.percent(node.attained)
        cells = (node.name, *_amounts(node), node.bound or fmt.NOTHING, attained)
        table.add_row(*(Text(speak(cell)) for cell in cells))
    return table


def _amounts(row: OperatorProfile | NodeProfile) -> tuple[str, str, str, str]:
    """Time, share, MACs and bytes, alike for operators and nodes."""
    return (
        fmt.milliseconds(row.ms),
        fmt.percent(row.share, 1),
        fmt.NOTHING if row.macs is None else fmt.count(row.macs),
        fmt.NOTHING if row.bytes is None else fmt.size(row.bytes),
    )


def _slowest(profile: Profile) -> list[NodeProfile]:
    return sorted(profile.nodes, key=lambda node: -node.ms)


def _unlisted(profile: Profile, top: int) -> str:
    rest = _slowest(profile)[top:]
    share = fmt.percent(sum(node.share for node in rest), 1)
    return f"{fmt.plural(len(rest), 'more node')} with {share} of the time"


def _ceilings(ceilings: Ceilings) -> str:
    """What this machine can do at best, which the bounds are taken from."""
    return (
        f"Ceilings measured on {fmt.threads(ceilings.threads)}: "
        f"{fmt.significant(ceilings.float_gflops)} GFLOP/s in float, "
        f"{fmt.significant(ceilings.int8_gops)} GOP/s in int8, "
        f"{fmt.significant(ceilings.memory_gbs)} GB/s from memory, "
        f"{fmt.significant(ceilings.cache_gbs)} GB/s from cache "
        f"(up to {fmt.size(ceilings.cache_bytes)}), "
        f"{fmt.significant(ceilings.overhead_us)} µs a node."
    )
