"""`polity roles`."""

from __future__ import annotations

import click

from polity_cli.cli.common import Command, Options, with_options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from polity_cli.cli.running import Answer, Visit
    from polity_cli.core.tenure import Tenure


@click.command(
    cls=Command,
    exits=(5, 7, 8, 130),
    example="polity roles --json",
)
@click.option("--cached", is_flag=True, help="From this node's ledger, which may be old, without asking.")
@click.option("--watch", is_flag=True, help="Show it again whenever it is another one, until interrupted.")
@with_options
def roles(cached: bool, watch: bool, options: Options) -> None:
    """List every known role with its holder and term.

    Each role is decided by a quorum, one after the other, so the list is of no single moment.
    """
    from polity_cli.cli.looking import show_changes
    from polity_cli.cli.running import Answer, in_session

    def look(visit: Visit) -> Answer:
        from polity_cli.cli.output import sentence

        session = visit.session
        if cached:
            found = [(role, session.remembered(role)) for role in session.remembered_roles()]
            note = f"from the ledger of {session.node}, which may be old"
        else:
            names = visit.patiently(lambda: session.roles(timeout_s=visit.left()))
            found = [(role, _ask(visit, role)) for role in names]
            note = ""
        # In term 0 are those that somebody stood for in vain: no role has come of it.
        found = [(role, tenure) for role, tenure in found if tenure.term]
        source = "ledger" if cached else "quorum"
        rows = [
            {"role": role, "holder": tenure.holder, "term": tenure.term, "source": source}
            for role, tenure in found
        ]
        if not rows:
            note = "no role is known yet; `polity elect ROLE` makes one"
        data = {"command": "roles", "roles": rows, "seconds": visit.seconds()}
        return Answer(data, "\n".join(sentence(role, tenure) for role, tenure in found), note=note)

    def work(visit: Visit) -> Answer:
        return show_changes(look, visit, as_json=options.as_json) if watch else look(visit)

    in_session("roles", options, work)


def _ask(visit: Visit, role: str) -> Tenure:
    from polity_cli.core.operation import Purpose
    from polity_cli.outcomes import error_of

    session = visit.session
    outcome = session.who(role, timeout_s=visit.left(), patient=visit.options.wait)
    error = error_of((Purpose.QUERY, role), outcome, session.electorate())
    if error is not None or outcome.tenure is None:
        raise error or AssertionError("an answer without a tenure")
    return outcome.tenure
