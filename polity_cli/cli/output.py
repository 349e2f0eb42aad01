"""Outcomes as the JSON that docs/json.md promises."""

from __future__ import annotations

from polity_cli.errors import NoQuorum, OutcomeUnknown, PolityError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from polity_cli.cli.running import Visit
    from polity_cli.core.operation import Outcome, Purpose
    from polity_cli.core.tenure import Tenure


def decide(
    visit: Visit, purpose: Purpose, role: str, operation: Callable[[], Outcome]
) -> tuple[Outcome, PolityError | None]:
    """Run an operation on a role: its outcome, and the error that tells it unless it is a plain yes.

    That there was no electorate to ask, or that it is unknown whether it was founded, are outcomes too.
    """
    from polity_cli.core.operation import Outcome, Verdict
    from polity_cli.outcomes import error_of

    try:
        outcome = visit.patiently(operation)
    except (NoQuorum, OutcomeUnknown) as error:
        unknown = isinstance(error, OutcomeUnknown)
        verdict = Verdict.UNKNOWN if unknown else Verdict.NO_QUORUM
        nobody: frozenset[bytes] = frozenset()
        return Outcome(verdict, None, None, nobody, nobody, 0, 0, 0, may_take_effect=unknown), error
    return outcome, error_of((purpose, role), outcome, visit.session.electorate())


def about(visit: Visit, outcome: Outcome) -> dict[str, object]:
    """The keys at the end of every operation's object."""
    return {
        "votes": {
            "yes": len(outcome.yes),
            "no": len(outcome.no),
            "required": outcome.required,
            "population": outcome.population,
        },
        "round_trips": outcome.round_trips,
        "seconds": visit.seconds(),
        "silent": list(outcome.silent),
        "may_take_effect": outcome.may_take_effect,
    }


def held_or_vacant(tenure: Tenure) -> str:
    return "vacant" if tenure.is_vacant else "held"


def sentence(role: str, tenure: Tenure) -> str:
    """Who holds a role, for people."""
    from polity_cli.cli.running import plain

    # Cleaned here, as a line end in a name would pass for one between lines.
    if tenure.holder is None:
        return f"{plain(role)} is vacant (term {tenure.term})"
    return f"{plain(tenure.holder)} holds {plain(role)} (term {tenure.term})"
