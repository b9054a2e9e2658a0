"""What pruning finds in each network of the zoo: groups, parameters in them, and what is frozen.

    python benchmarks/zoo.py [NAME ...]

Without names, all of them: some minutes. Needs the packages of the extras torch and dev. What is
frozen along two axes counts for both reasons.
"""

import argparse
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from compressor.pruning.coupling.groups import find_groups

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from networks import ZOO, Network
from networks.share import Share, share

TOLD = 0.01
"""Reasons that hold a smaller share of the parameters are not shown."""


def row(network: Network) -> tuple[str, ...]:
    """Name, parameters, groups, share in groups, why the rest stays, operators without a rule."""
    model = network.folded()
    grouping = find_groups(model, network.feeds(2))
    counted: Share = share(model, grouping)
    held = [
        f"{100 * count / counted.total:.0f} % {reason} ({counted.first[reason]})"
        for reason, count in counted.held.items()
        if count >= TOLD * counted.total
    ]
    return (
        network.name,
        f"{counted.total:,}",
        str(len(grouping.groups)),
        f"{100 * counted.part:.1f} %",
        "\n".join([*held, *(f"no rule: {operator}" for operator in grouping.unknown)]),
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    names = [network.name for network in ZOO]
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(names))
    chosen = parser.parse_args().names or names
    unknown = sorted(set(chosen) - set(names))
    if unknown:
        parser.error(f"no such network: {', '.join(unknown)}")
    table = Table("network", title="Prunable parameters of the zoo")
    for heading in ("parameters", "groups", "in groups"):
        table.add_column(heading, justify="right")
    table.add_column("why the others stay, and the first node that forbids it")
    for network in ZOO:
        if network.name in chosen:
            table.add_row(*row(network))
    Console().print(table)


if __name__ == "__main__":
    main()
