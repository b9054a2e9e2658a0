"""What a person reads first: sentences that are short, guides that are short, links that lead."""

import re
from pathlib import Path

import pytest
from prose import (
    README,
    Sentence,
    of_commands,
    of_markdown,
    of_pages,
    of_paragraph,
    of_recipe,
    too_long,
)

ROOT = README.parent
LINES = {"README.md": 160, "ARCHITECTURE.md": 130}
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]


def test_no_sentence_of_the_readme_the_help_or_the_recipe_is_long() -> None:
    sentences = [*of_pages([README]), *of_commands(), *of_recipe()]
    assert len(sentences) > 200
    assert too_long(sentences) == []


@pytest.mark.parametrize("name", LINES)
def test_a_guide_is_read_in_a_few_minutes(name: str) -> None:
    assert len((ROOT / name).read_text("utf-8").splitlines()) <= LINES[name]


def anchors(page: Path) -> set[str]:
    """What links to a page can point at: its headings, as GitHub names them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.M)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    prose = re.sub(r"^```.*?^```|`[^`\n]*`", "", page.read_text("utf-8"), flags=re.M | re.S)
    for link in re.findall(r"\]\((?!https?://)([^)]+)\)", prose):
        path, _, anchor = link.partition("#")
        to = page.parent / path if path else page
        assert to.is_file(), f"{page.name} links to {link}"
        assert not anchor or anchor in anchors(to), f"{page.name} links to {link}"


def test_the_map_names_modules_that_exist() -> None:
    folders = ("compressor", "calibration", "exporters")
    modules = [f"/{path.as_posix()}" for name in folders for path in Path(ROOT, name).rglob("*.py")]
    named = re.findall(r"`([\w/]+\.py)`", Path(ROOT, "ARCHITECTURE.md").read_text("utf-8"))
    assert len(named) > 20
    assert [name for name in named if not any(one.endswith(f"/{name}") for one in modules)] == []


def test_a_sentence_ends_at_a_stop_and_code_is_one_word() -> None:
    text = "Run `compress a.onnx --prune 30%`: it is 1.5x faster; see [the page](docs/a.md). No!"
    first, second = of_paragraph(text)
    assert second == "No!"
    assert Sentence("", first).words == 9
    assert list(of_paragraph("Seconds. none keeps all. [default: 4]")) == [
        "Seconds.",
        "none keeps all.",
    ]


def test_cells_items_and_headings_stand_alone_and_code_blocks_do_not_count() -> None:
    page = (
        "# Title\n\nProse goes\non. Ends.\n\n    compress a b c\n\n- one\n- two\n  words\n\n"
        "| a | b |\n|---|---|\n| c d | e |\n\n```console\n$ compress\n```\n"
    )
    found = [text for text in of_markdown(page) if Sentence("", text).words]
    assert found == ["Title", "Prose goes on.", "Ends.", "one", "two words", "a", "b", "c d", "e"]


def test_the_longest_comes_first() -> None:
    sentences = [Sentence("", "a " * n) for n in (2, 5, 4)]
    assert [sentence.words for sentence in too_long(sentences, most=3)] == [5, 4]
