"""`polity elect ROLE`."""

from __future__ import annotations

import click

from polity_cli.cli.common import Command, Options, with_options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from polity_cli.cli.running import Answer, Visit


@click.command(
    cls=Command,
    exits=(2, 3, 5, 6, 7, 8, 130),
    example="polity elect backup && run-backup",
)
@click.argument("role")
@with_options
def elect(role: str, options: Options) -> None:
    """Stand for ROLE with this node as candidate.

    Exits with 0 if this node holds ROLE now, also if it did before; with 3 if another node does. The term is
    the fencing token: it only grows. The first election in a cluster founds its polity.
    """
    from polity_cli.cli.running import Answer, in_session
    from polity_cli.core.tenure import check_role

    check_role(role)

    def work(visit: Visit) -> Answer:
        from polity_cli.cli.found import advice, say_founded
        from polity_cli.cli.output import about, decide
        from polity_cli.core.operation import Purpose, Verdict
        from polity_cli.upkeep import tend_later

        session = visit.session
        outcome, error = decide(
            visit,
            Purpose.ELECT,
            role,
            lambda: session.elect(role, timeout_s=visit.left(), patient=options.wait),
        )
        tenure = outcome.tenure
        data = {
            "command": "elect",
            "role": role,
            "outcome": outcome.verdict.value,
            "holder": tenure.holder if tenure else None,
            "term": tenure.term if tenure else None,
            "candidate": session.node,
            **about(visit, outcome),
        }
        text = ""
        if error is None and tenure is not None:
            verb = "holds" if outcome.verdict is Verdict.WON else "already holds"
            text = f"{session.node} {verb} {role} (term {tenure.term})"
        note = "" if session.founded is None else f"{say_founded(session.founded)}. {advice(session.founded)}"
        then = tend_later(session, visit.upkeep, options.where())
        return Answer(data, text, error, note=note.strip(), then=then)

    in_session("elect", options, work)
