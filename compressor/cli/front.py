"""`compress` in front of its commands: its first argument is a model unless it names a command."""

from collections.abc import Sequence

import click

from compressor.cli.sections import SectionedCommand

DEFAULT = "run"

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}

EPILOG = """\b
Exit codes: 0 done · 1 internal error · 2 wrong usage or bad input ·
3 quality budget or goal of pruning not met · 4 target not available ·
5 the linter found errors · 130 interrupted
\b
A model file that is named like a command is reached as ./profile.
"""


class Front(click.Group):
    """A group whose first argument is a model unless it names a command."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the default command in front of a model's path or of a flag."""
        _require_text(args)
        own = {"-h", "--help", "--version", *self.commands}
        if args and (args[0] not in own or args[0] == DEFAULT):
            args = [DEFAULT, *args]
        return super().parse_args(ctx, args)

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The default command's help is the help; the other commands come below."""
        run = self.commands[DEFAULT]
        formatter.write_usage(ctx.command_path, "MODEL... [OPTIONS]  |  COMMAND ...")
        run.format_help_text(ctx, formatter)
        with formatter.section("Commands"):
            others = [(n, c.get_short_help_str(100)) for n, c in self.commands.items()]
            formatter.write_dl([row for row in others if row[0] != DEFAULT])
        with click.Context(run, parent=ctx) as inner:
            run.format_options(inner, formatter)
        self.format_epilog(ctx, formatter)


def _require_text(args: Sequence[str]) -> None:
    """Reports, plans and manifests hold names, and are UTF-8: other bytes would fail at the end.

    Raises:
        click.UsageError: A word is not UTF-8.
    """
    for word in args:
        try:
            word.encode()
        except UnicodeEncodeError:
            told = word.encode(errors="backslashreplace").decode()
            raise click.UsageError(
                f"{told} is not UTF-8, as reports and plans are: rename the file, or link to it"
            ) from None


class _ModelContext(click.Context):
    """Context of the default command, which users do not name."""

    @property
    def command_path(self) -> str:
        """`compress`, for usage and advice."""
        return self.parent.command_path if self.parent else "compress"


class ModelCommand(SectionedCommand):
    """The default command, in whose usage it has no name."""

    context_class = _ModelContext
