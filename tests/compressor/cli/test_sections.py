"""Options under headings in `--help`."""

import re

import click
import pytest
from click.testing import CliRunner

from compressor.cli.main import cli
from compressor.cli.sections import FIRST, NEEDED_FIRST, TERMINAL, SectionedCommand, section


def headings(output: str) -> dict[str, str]:
    """Heading → what stands under it."""
    found, heading = dict[str, str](), ""
    for line in output.splitlines():
        if line.endswith(":") and not line.startswith(" "):
            heading = line[:-1]
        found[heading] = found.get(heading, "") + line + "\n"
    return found


def test_what_people_need_first_comes_first_and_once():
    output = CliRunner().invoke(cli, ["--help"]).output
    found = headings(output)
    for flag in ("--target", "--calib", "--max-drop", "--prune", "--model", "--output"):
        shown = re.compile(rf"^  (-o, )?{flag} ", re.MULTILINE)
        assert [heading for heading, text in found.items() if shown.search(text)] == [NEEDED_FIRST]
    assert list(found).index(NEEDED_FIRST) < list(found).index("Data")
    assert "--prune-method" in found["Pruning"]
    assert "--help" in found[TERMINAL]


@pytest.mark.parametrize("name", sorted(cli.commands))
def test_every_option_of_every_command_is_shown(name: str):
    command = cli.commands[name]
    output = command.get_help(click.Context(command))
    flags = [o for p in command.params if isinstance(p, click.Option) for o in p.opts]
    assert all(flag in output for flag in flags)


def test_what_first_names_are_parameters():
    assert set(FIRST) <= {parameter.name for parameter in cli.commands["run"].params}


def test_a_name_has_one_heading_whichever_module_is_imported_first():
    section("Vegetables", click.option("--tomato"))
    section("Vegetables", click.option("--tomato"))
    with pytest.raises(ValueError, match="'Vegetables' and under 'Berries'"):
        section("Berries", click.option("--tomato"))


def test_options_of_no_section_are_the_commands_own():
    grouped = section("Fruit", click.option("--apple"), click.option("--pear"))

    @click.command(cls=SectionedCommand)
    @click.option("--here")
    @grouped
    def command(**_: object) -> None: ...

    found = headings(CliRunner().invoke(command, ["--help"]).output)
    assert "--here" in found["Options of this command"]
    assert ("--apple" in found["Fruit"], "--pear" in found["Fruit"]) == (True, True)
