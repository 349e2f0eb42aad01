"""`polity recall ROLE`."""

from __future__ import annotations

import click

from polity_cli.cli.common import Command, Options, with_options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from polity_cli.cli.running import Answer, Visit


@click.command(
    cls=Command,
    exits=(2, 3, 4, 5, 6, 7, 8, 130),
    example="polity recall backup --holder n3 --term 7",
)
@click.argument("role")
@click.option("--holder", metavar="NAME", help="Only if this node holds it.")
@click.option("--term", type=click.IntRange(min=1), metavar="N", help="Only in this term.")
@with_options
def recall(role: str, holder: str | None, term: int | None, options: Options) -> None:
    """Empty ROLE, whoever holds it, unless a guard says otherwise.

    Exits with 0 if it was emptied, with 4 if nobody held it, with 3 if a guard did not match.
    """
    from polity_cli.cli.running import Answer, in_session
    from polity_cli.core.tenure import MAX_NODE_BYTES, check_name, check_role

    check_role(role)
    if holder is not None:
        check_name(holder, "holder's name", MAX_NODE_BYTES)

    def work(visit: Visit) -> Answer:
        from polity_cli.cli.output import about, decide
        from polity_cli.core.operation import Purpose, Verdict

        outcome, error = decide(
            visit,
            Purpose.RECALL,
            role,
            lambda: visit.session.recall(
                role, holder=holder, term=term, timeout_s=visit.left(), patient=options.wait
            ),
        )
        tenure = outcome.tenure
        was = tenure.holder if tenure and outcome.verdict is Verdict.GUARD else outcome.previous_holder
        data = {
            "command": "recall",
            "role": role,
            "outcome": outcome.verdict.value,
            "previous_holder": was,
            "term": tenure.term if tenure else None,
            **about(visit, outcome),
        }
        text = ""
        if error is None and tenure is not None:
            text = f"{role} is vacant (term {tenure.term}); {was or 'somebody'} held it"
        return Answer(data, text, error)

    in_session("recall", options, work)
