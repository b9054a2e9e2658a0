"""The pages of a front: HTML with its pictures, and Markdown."""

from compressor.report.front_plot import caption, front_picture, volume_picture
from compressor.report.front_rows import HEADINGS, FrontRow, front_rows, headline, summary_lines
from compressor.report.html import page_environment
from compressor.report.markdown import escaped
from compressor.results.front import SearchReport
from compressor.system.sparing import spared


def front_pages(report: SearchReport) -> dict[str, str]:
    """File name → text, of every form that people read."""
    return {"front.html": _html(report), "front.md": _markdown(report)}


def _html(report: SearchReport) -> str:
    """A picture that fails costs no more than itself."""
    return (
        page_environment()
        .get_template("front.html")
        .render(
            report=report,
            headline=headline(report),
            lines=summary_lines(report),
            rows=front_rows(report),
            headings=[HEADINGS[name] for name in report.objectives],
            picture=spared(lambda: front_picture(report), lambda _: None),
            volume=spared(lambda: volume_picture(report), lambda _: None),
            caption=caption(report),
        )
    )


def _markdown(report: SearchReport) -> str:
    heads = ["trial", *(HEADINGS[name] for name in report.objectives), "recipe", "plan"]
    lines = [f"# {escaped(headline(report))}", ""]
    lines += [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    lines += [_line(row) for row in front_rows(report)]
    lines += ["", *(f"- {escaped(line)}" for line in summary_lines(report))]
    return "\n".join(lines) + "\n"


def _line(row: FrontRow) -> str:
    recipe = f"{row.recipe} ({row.note})" if row.note else row.recipe
    cells = (str(row.number), *row.cells, recipe, row.plan)
    return f"| {' | '.join(map(escaped, cells))} |"
