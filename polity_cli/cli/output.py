"""Outcomes as the JSON that docs/json.md promises."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from polity_cli.core.candidacy import Outcome
    from polity_cli.core.tenure import Tenure


def votes(outcome: Outcome) -> dict[str, int]:
    """How many voters stood behind the outcome, how many against it, and how many it took."""
    return {
        "yes": len(outcome.yes),
        "no": len(outcome.no),
        "required": outcome.required,
        "population": outcome.population,
    }


def held_or_vacant(tenure: Tenure) -> str:
    return "vacant" if tenure.is_vacant else "held"


def sentence(role: str, tenure: Tenure) -> str:
    """Who holds a role, for people."""
    if tenure.is_vacant:
        return f"{role} is vacant (term {tenure.term})"
    return f"{tenure.holder} holds {role} (term {tenure.term})"
