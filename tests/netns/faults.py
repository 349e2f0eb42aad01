"""What is wrong with a network, as data, and as rules for the bridge that all its packets cross."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from polity_cli.errors import BadInput

TABLE = "polity"


class Fault(NamedTuple):
    """Of the packets from `sources` to `targets` this share is lost; 100 is a cut."""

    sources: frozenset[str]
    targets: frozenset[str]
    percent: int = 100

    def __str__(self) -> str:
        way = f"{_names(self.sources)} -> {_names(self.targets)}"
        return f"cut {way}" if self.percent == 100 else f"loss {self.percent} % {way}"


def one_way(sources: Collection[str], targets: Collection[str], percent: int = 100) -> Fault:
    """A fault; raises BadInput for a share that is none."""
    if not 0 < percent <= 100:
        raise BadInput(f"a share of 1 to 100 percent can be lost, not {percent}")
    return Fault(frozenset(sources), frozenset(targets), percent)


def both_ways(a: Collection[str], b: Collection[str], percent: int = 100) -> tuple[Fault, Fault]:
    return one_way(a, b, percent), one_way(b, a, percent)


def ruleset(faults: Iterable[Fault], ports: Mapping[str, str]) -> str:
    """Input for `nft -f`: exactly these faults, whatever was in force; `ports` are the nodes' links."""

    def links(nodes: Iterable[str]) -> str:
        return "{ " + ", ".join(sorted(ports[node] for node in nodes)) + " }"

    def rule(fault: Fault) -> str:
        share = "" if fault.percent == 100 else f"numgen random mod 100 < {fault.percent} "
        return f"  iifname {links(fault.sources)} oifname {links(fault.targets)} {share}drop\n"

    # Declared first, so that there is one to delete; nft takes the whole text in one step.
    return (
        f"table bridge {TABLE}\ndelete table bridge {TABLE}\ntable bridge {TABLE} {{\n chain faults {{\n"
        "  type filter hook forward priority 0; policy accept;\n"
        f"{''.join(map(rule, faults))} }}\n}}\n"
    )


def _names(nodes: Iterable[str]) -> str:
    return "+".join(sorted(nodes))
