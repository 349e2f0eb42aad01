"""`polity elect ROLE`."""

from __future__ import annotations

from time import monotonic

import click

from polity_cli.cli.common import Answer, Command, Options, in_session, since, with_options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from polity_cli.session import Session


@click.command(cls=Command, example="polity elect backup && run-backup")
@click.argument("role")
@with_options
def elect(role: str, options: Options) -> None:
    """Stand for ROLE with this node as candidate.

    Exits with 0 if this node holds ROLE now, also if it did before; with 3 if another node does. The first
    election in a cluster founds its polity.
    """

    def work(session: Session) -> Answer:
        from polity_cli.cli.output import votes
        from polity_cli.core.candidacy import Purpose, Verdict
        from polity_cli.session import error_of

        started = monotonic()
        outcome = session.elect(role, timeout_s=options.timeout, patient=options.wait)
        tenure = outcome.tenure
        error = error_of((Purpose.ELECT, role), outcome, session.electorate())
        data = {
            "command": "elect",
            "role": role,
            "outcome": outcome.verdict.value,
            "holder": tenure.holder if tenure else None,
            "term": tenure.term if tenure else None,
            "candidate": session.node,
            "votes": votes(outcome),
            "round_trips": outcome.round_trips,
            "seconds": since(started),
            "silent": list(outcome.silent),
            "may_take_effect": outcome.may_take_effect,
        }
        text = ""
        if error is None and tenure is not None:
            verb = "holds" if outcome.verdict is Verdict.WON else "already holds"
            text = f"{session.node} {verb} {role} (term {tenure.term})"
        return Answer(data, text, error)

    in_session("elect", options, work)
