"""`polity who ROLE`."""

from __future__ import annotations

import click

from polity_cli.cli.common import Answer, Command, Options, in_session, with_options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from polity_cli.session import Session


@click.command(cls=Command, example='ssh "$(polity who -q primary)" uptime')
@click.argument("role")
@click.option("--cached", is_flag=True, help="From this node's ledger, which may be old, without asking.")
@click.option("-q", "--quiet", is_flag=True, help="Print the holder's name and nothing else.")
@with_options
def who(role: str, cached: bool, quiet: bool, options: Options) -> None:
    """Say who holds ROLE, as decided by a quorum.

    Exits with 0 if somebody does, with 4 if nobody does.
    """

    def work(session: Session) -> Answer:
        from polity_cli.cli.output import held_or_vacant, sentence
        from polity_cli.core.candidacy import Purpose
        from polity_cli.errors import RoleUnfilled
        from polity_cli.session import error_of

        if cached:
            source, tenure = "ledger", session.remembered(role)
        else:
            source = "quorum"
            outcome = session.who(role, timeout_s=options.timeout, patient=options.wait)
            error = error_of((Purpose.QUERY, role), outcome, session.electorate())
            if error is not None or outcome.tenure is None:
                unknown = {"outcome": "no_quorum", "holder": None, "term": None, "source": source}
                silent = list(outcome.silent)
                return Answer({"command": "who", "role": role, **unknown, "silent": silent}, "", error)
            tenure = outcome.tenure
        data = {
            "command": "who",
            "role": role,
            "outcome": held_or_vacant(tenure),
            "holder": tenure.holder,
            "term": tenure.term,
            "source": source,
        }
        if tenure.holder is None:
            vacant = RoleUnfilled(sentence(role, tenure) + _by(source), hint="`polity elect ROLE` fills it")
            return Answer(data, "", vacant)
        return Answer(data, tenure.holder if quiet else sentence(role, tenure) + _by(source))

    in_session("who", options, work)


def _by(source: str) -> str:
    return ", as far as this node's ledger knows" if source == "ledger" else ""
