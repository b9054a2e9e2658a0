"""The rows of `trt_device.py` as a table in Markdown, and as one JSON file's content."""

from collections.abc import Sequence
from typing import Any

from compressor.report.markdown import escaped
from compressor.report.verdict import kernel_words
from compressor.results import format as fmt
from trt_device_nets import NETS
from trt_device_parts import Part

HEADINGS = ("network", "engine", "time", "over FP16", "cosine", "kernels", "build")
RIGHT = ("time", "over FP16", "cosine", "build")
Row = tuple[str, str, Part | None]
"""Network, kind, and what is known."""


def table(rows: Sequence[Row], words: str) -> str:
    """The table, and below it where it was made, what each inference is, and what went wrong."""
    lines = [
        f"| {' | '.join(HEADINGS)} |",
        f"|{'|'.join('---:' if name in RIGHT else '---' for name in HEADINGS)}|",
    ]
    lines += [f"| {' | '.join(cells(*row))} |" for row in rows]
    shown = {network for network, *_ in rows}
    what = "; ".join(f"{net.name}: {net.what}" for net in NETS if net.name in shown)
    lines += ["", escaped(f"Made with {words}. An inference is of {what}.")]
    lines += ["", NOTES, ""]
    return "\n".join(lines)


NOTES = """Time is the median between CUDA events (of the loop: what passed); the speed is over the
FP16 engine, timed in turn, with its 95 % interval. The cosine is the least of all outputs with what
ONNX Runtime makes of the same graph. Kernels count for the fewest bits that they read. Weights are
random."""


def cells(network: str, kind: str, part: Part | None) -> tuple[str, ...]:
    """A row's cells, of which those that are not known are empty."""
    if part is None:
        return (network, kind, "not reached", "", "", "", "")
    engines = list(part.engines.values())
    seconds = [engine.seconds for engine in engines if engine.seconds is not None]
    speed = ""
    if part.ratio is not None and part.interval is not None:
        speed = f"{fmt.ratio(part.ratio)} ({fmt.ratio_interval(part.interval)})"
    time = "" if part.milliseconds is None else fmt.milliseconds(part.milliseconds)
    said = part.words
    if part.state != "measured":
        said = f"{part.state}: {said}" if said else part.state
    return (
        network,
        kind,
        " · ".join(text for text in (time, escaped(said)) if text),
        speed,
        "" if part.cosine is None else f"{part.cosine:.4f}",
        "; ".join(kernel_words(engine) for engine in engines if engine.kernels),
        fmt.seconds(sum(seconds)) if seconds else "",
    )


def document(rows: Sequence[Row], made_by: dict[str, str], clocks: str) -> dict[str, Any]:
    """All rows, and where they were made."""
    return {
        "made_by": made_by,
        "clocks": clocks,
        "rows": [
            {"network": network, "kind": kind, "state": "not reached"}
            if part is None
            else part.model_dump(mode="json")
            for network, kind, part in rows
        ],
    }
