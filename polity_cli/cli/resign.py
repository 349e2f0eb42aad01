"""`polity resign ROLE`."""

from __future__ import annotations

import click

from polity_cli.cli.common import Command, Options, with_options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from polity_cli.cli.running import Answer, Visit


@click.command(
    cls=Command,
    exits=(2, 3, 4, 5, 6, 7, 8, 130),
    example="run-backup; polity resign backup",
)
@click.argument("role")
@click.option(
    "--term", type=click.IntRange(min=1), metavar="N", help="Only if this node holds it in this term."
)
@with_options
def resign(role: str, term: int | None, options: Options) -> None:
    """Give ROLE back, if this node holds it.

    Exits with 0 if it is vacant by that, with 4 if nobody held it, with 3 if another node does or it is not
    that term. It is a recall that is guarded by this node's name.
    """
    from polity_cli.cli.running import Answer, in_session
    from polity_cli.core.tenure import check_role

    check_role(role)

    def work(visit: Visit) -> Answer:
        from polity_cli.cli.output import about, decide
        from polity_cli.core.operation import Purpose, Verdict
        from polity_cli.errors import GuardFailed

        node = visit.session.node
        outcome, error = decide(
            visit,
            Purpose.RECALL,
            role,
            lambda: visit.session.recall(
                role, holder=node, term=term, timeout_s=visit.left(), patient=options.wait
            ),
        )
        tenure = outcome.tenure
        if outcome.verdict is Verdict.GUARD and tenure is not None:
            error = GuardFailed(
                f"{tenure.holder} holds {role} (term {tenure.term}), so {node} has nothing to give back",
                hint="a node gives back what it holds itself; `polity recall` is for others",
            )
        resigned = outcome.verdict is Verdict.RECALLED
        data = {
            "command": "resign",
            "role": role,
            "outcome": "resigned" if resigned else outcome.verdict.value,
            "holder": tenure.holder if tenure else None,
            "term": tenure.term if tenure else None,
            **about(visit, outcome),
        }
        text = f"{role} is vacant (term {tenure.term}); {node} has resigned" if resigned and tenure else ""
        return Answer(data, text, error)

    in_session("resign", options, work)
