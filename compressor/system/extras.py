"""Packages that are installed on demand, and what to say where one is missing."""

from importlib.util import find_spec

from compressor.errors import UsageError


def require_extra(package: str, extra: str, what: str) -> None:
    """Refuse what cannot be done without a package.

    Args:
        package: As it is imported.
        extra: The extra that brings it.
        what: What needs it, to begin the message with: "training".

    Raises:
        UsageError: It is not installed.
    """
    if find_spec(package) is None:
        raise UsageError(
            f"{what} needs {package}, which is not installed",
            hint=f"pip install 'compressor[{extra}]'",
        )
