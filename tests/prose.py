"""Sentences that are too long to be read at one go: in the README, every `--help`, and the recipe.

    python tests/prose.py                       # those of more than 25 words
    python tests/prose.py --most 30 docs/*.md   # likewise of other pages, in place of the README

A sentence ends at a full stop, a question mark or an exclamation mark, not at a colon or a
semicolon. Headings, list items, cells of tables and the `[default: ...]` of an option stand alone.
Code blocks are left out; a piece of code within a sentence is one word.
"""

import argparse
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import click

MOST = 25
"""Words."""
README = Path(__file__).parents[1] / "README.md"

_FENCED = re.compile(r"^```.*?^```|^<!--.*?-->", re.M | re.S)
_ITEM = re.compile(r"^\s*(?:[-*]|\d+\.|#+)\s+", re.M)
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
_END = re.compile(r"(?<=[.!?])[\"')*]*\s+")
_ALONE = re.compile(r"\[default: [^\]]*\]|·")


class Sentence(NamedTuple):
    """A sentence, and where it stands."""

    place: str
    text: str

    @property
    def words(self) -> int:
        """How many; what has no letter and no digit is none."""
        return sum(1 for word in self.text.split() if re.search(r"\w", word))


def of_paragraph(text: str) -> Iterator[str]:
    """The sentences of running text, in plain words."""
    text = re.sub(r"`[^`]+`", lambda code: code[0].replace(" ", "_"), text)
    for part in _ALONE.split(_LINK.sub(r"\1", text)):
        yield from (sentence.strip() for sentence in _END.split(part) if sentence.strip())


def of_markdown(text: str) -> Iterator[str]:
    """The sentences of a page of Markdown."""
    for block in re.split(r"\n\s*\n", _FENCED.sub("\n\n", text)):
        if all(line.startswith("    ") for line in block.splitlines()):
            continue  # code
        is_table = block.lstrip().startswith("|")
        for part in re.split(r"[|\n]", block) if is_table else _ITEM.split(block):
            yield from of_paragraph(" ".join(part.split()))


def of_help(command: click.Command) -> Iterator[str]:
    """The sentences of a command's own help: what it does, its options, its epilogue."""
    options = (p.help for p in command.params if isinstance(p, click.Option))
    for text in (command.help, *options, command.epilog):
        for paragraph in re.split(r"\n\s*\n", text or ""):
            parts = paragraph.splitlines() if "\b" in paragraph else [paragraph]
            for part in parts:  # what is not to be wrapped is a line each
                yield from of_paragraph(" ".join(part.split()))


def of_pages(pages: Iterable[Path]) -> Iterator[Sentence]:
    """Every sentence of these pages."""
    for page in pages:
        yield from (Sentence(page.name, text) for text in of_markdown(page.read_text("utf-8")))


def of_commands() -> Iterator[Sentence]:
    """Every sentence of every `--help`; one that several commands share comes once."""
    from compressor.cli.main import cli

    seen = set[str]()
    for name, command in cli.commands.items():
        place = "compress" if name == "run" else f"compress {name}"
        for text in of_help(command):
            if text not in seen:
                seen.add(text)
                yield Sentence(f"{place} --help", text)


def of_recipe() -> Iterator[Sentence]:
    """Every sentence that explains an option in what `compress recipe` prints."""
    from compressor.recipe.recipe import Recipe
    from compressor.recipe.toml import to_toml

    for line in to_toml(Recipe()).splitlines():
        if line.startswith("# ") and not re.match(r"# [\w.]+ =", line):
            yield from (Sentence("compress recipe", text) for text in of_paragraph(line[2:]))


def too_long(sentences: Iterable[Sentence], most: int = MOST) -> list[Sentence]:
    """Those of more than `most` words, the longest first."""
    found = [sentence for sentence in sentences if sentence.words > most]
    return sorted(found, key=lambda sentence: -sentence.words)


def main() -> None:
    """List them, and tell how many there are of how many sentences."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("pages", nargs="*", type=Path, default=[README], help="pages of Markdown")
    parser.add_argument("--most", type=int, default=MOST, help="words that are no fault")
    arguments = parser.parse_args()
    sentences = [*of_pages(arguments.pages), *of_commands(), *of_recipe()]
    found = too_long(sentences, arguments.most)
    for sentence in found:
        print(f"{sentence.words:3d} words  {sentence.place}: {sentence.text}")
    print(f"{len(found)} of {len(sentences)} sentences have more than {arguments.most} words")


if __name__ == "__main__":
    main()
