"""Elect one node into a role over HashiCorp Serf, with strong consensus.

The names below are the library; each is imported when first used, because `polity-hook` imports this
package for every query it answers and needs none of them.
"""

from __future__ import annotations

__version__ = "0.1.0"

_HOME = {
    "Polity": "polity_cli.polity",
    "Election": "polity_cli.polity",
    "SerfClient": "polity_cli.edges.serf_rpc",
    "QuorumPercentage": "polity_cli.core.quorum",
    "SimpleMajority": "polity_cli.core.quorum",
    "LamportWindow": "polity_cli.core.lamport",
    "Tenure": "polity_cli.core.tenure",
    "ElectionAborted": "polity_cli.errors",
    "GuardFailed": "polity_cli.errors",
    "LostElection": "polity_cli.errors",
    "NoQuorum": "polity_cli.errors",
    "OutcomeUnknown": "polity_cli.errors",
    "PolityError": "polity_cli.errors",
    "RoleUnfilled": "polity_cli.errors",
    "SlotTaken": "polity_cli.errors",
}

TYPE_CHECKING = False
if TYPE_CHECKING:
    from polity_cli.core.lamport import LamportWindow as LamportWindow
    from polity_cli.core.quorum import QuorumPercentage as QuorumPercentage
    from polity_cli.core.quorum import SimpleMajority as SimpleMajority
    from polity_cli.core.tenure import Tenure as Tenure
    from polity_cli.edges.serf_rpc import SerfClient as SerfClient
    from polity_cli.errors import ElectionAborted as ElectionAborted
    from polity_cli.errors import GuardFailed as GuardFailed
    from polity_cli.errors import LostElection as LostElection
    from polity_cli.errors import NoQuorum as NoQuorum
    from polity_cli.errors import OutcomeUnknown as OutcomeUnknown
    from polity_cli.errors import PolityError as PolityError
    from polity_cli.errors import RoleUnfilled as RoleUnfilled
    from polity_cli.errors import SlotTaken as SlotTaken
    from polity_cli.polity import Election as Election
    from polity_cli.polity import Polity as Polity


def __getattr__(name: str) -> object:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
