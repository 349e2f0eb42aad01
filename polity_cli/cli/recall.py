"""`polity recall ROLE`."""

from __future__ import annotations

from time import monotonic

import click

from polity_cli.cli.common import Answer, Command, Options, in_session, since, with_options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from polity_cli.session import Session


@click.command(cls=Command, example="polity recall backup --holder n3 --term 7")
@click.argument("role")
@click.option("--holder", metavar="NAME", help="Only if this node holds it.")
@click.option("--term", type=click.IntRange(min=1), metavar="N", help="Only in this term.")
@with_options
def recall(role: str, holder: str | None, term: int | None, options: Options) -> None:
    """Empty ROLE, whoever holds it, unless a guard says otherwise.

    Exits with 0 if it was emptied, with 4 if nobody held it, with 3 if a guard did not match.
    """

    def work(session: Session) -> Answer:
        from polity_cli.cli.output import votes
        from polity_cli.core.candidacy import Purpose, Verdict
        from polity_cli.session import error_of

        started = monotonic()
        outcome = session.recall(
            role, holder=holder, term=term, timeout_s=options.timeout, patient=options.wait
        )
        tenure = outcome.tenure
        error = error_of((Purpose.RECALL, role), outcome, session.electorate())
        was = tenure.holder if tenure and outcome.verdict is Verdict.GUARD else outcome.previous_holder
        data = {
            "command": "recall",
            "role": role,
            "outcome": outcome.verdict.value,
            "previous_holder": was,
            "term": tenure.term if tenure else None,
            "votes": votes(outcome),
            "round_trips": outcome.round_trips,
            "seconds": since(started),
            "silent": list(outcome.silent),
            "may_take_effect": outcome.may_take_effect,
        }
        text = ""
        if error is None and tenure is not None:
            text = f"{role} is vacant (term {tenure.term}); {was or 'somebody'} held it"
        return Answer(data, text, error)

    in_session("recall", options, work)
