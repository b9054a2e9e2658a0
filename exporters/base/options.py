"""What the user can choose about a target: a section of the recipe, and flags for some of it.

`exporters/NAME/options.py` declares them, and ends in `OPTIONS = ...`. The recipe, its TOML, the
command line and its help are made from there. It is read by `compress --help`, so that it imports
neither the runtime nor anything else that takes long.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict


@dataclass(frozen=True)
class Flag:
    """How a field of a section is given on the command line; part of its annotation.

    Attributes:
        name: As it is typed: `--precision`.
        help: Its line of `--help`, which needs to say no default.
        metavar: What stands for the value; None where the type lists its values.
    """

    name: str
    help: str
    metavar: str | None = None


@dataclass(frozen=True)
class Declared:
    """A flag with the field that it sets.

    Attributes:
        field: Its name in the section.
        flag: The flag.
        annotation: The type of the field.
        default: What holds where the flag is not given.
    """

    field: str
    flag: Flag
    annotation: Any
    default: Any


class TargetOptions(BaseModel):
    """Base of the sections of targets: fields with defaults, descriptions and flags.

    The first line of the docstring stands over the section in TOML.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    title: ClassVar[str]
    """What the runtime is called: the heading of its flags in `--help`."""

    @classmethod
    def flags(cls) -> Iterator[Declared]:
        """The flags, in the order of the fields."""
        for name, field in cls.model_fields.items():
            for flag in field.metadata:
                if isinstance(flag, Flag):
                    yield Declared(name, flag, field.annotation, field.default)

    @property
    def chosen(self) -> tuple[str, ...]:
        """The fields that are not as by default, as the user wrote them: by flag or by key."""
        flags = {one.field: one.flag.name for one in self.flags()}
        default = type(self)()
        return tuple(
            flags.get(name, f"`{name}`") for name, value in self if value != getattr(default, name)
        )
