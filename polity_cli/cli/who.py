"""`polity who ROLE`."""

from __future__ import annotations

import click

from polity_cli.cli.common import Command, Options, with_options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from polity_cli.cli.running import Answer, Visit


@click.command(
    cls=Command,
    exits=(2, 4, 5, 7, 8, 130),
    example='ssh "$(polity who -q primary)" uptime',
)
@click.argument("role")
@click.option("--cached", is_flag=True, help="From this node's ledger, which may be old, without asking.")
@click.option("-q", "--quiet", is_flag=True, help="Print the holder's name and nothing else.")
@with_options
def who(role: str, cached: bool, quiet: bool, options: Options) -> None:
    """Say who holds ROLE, as decided by a quorum.

    Exits with 0 if somebody does, with 4 if nobody does; then standard output is empty.
    """
    from polity_cli.cli.running import Answer, in_session
    from polity_cli.core.tenure import check_role

    check_role(role)

    def work(visit: Visit) -> Answer:
        from polity_cli.cli.output import about, decide, held_or_vacant, sentence
        from polity_cli.core.operation import Purpose
        from polity_cli.errors import RoleUnfilled
        from polity_cli.outcomes import shell_word

        source = "ledger" if cached else "quorum"
        data: dict[str, object] = {"command": "who", "role": role}
        if cached:
            tenure = visit.session.remembered(role)
            more: dict[str, object] = {"seconds": visit.seconds()}
        else:
            outcome, error = decide(
                visit,
                Purpose.QUERY,
                role,
                lambda: visit.session.who(role, timeout_s=visit.left(), patient=options.wait),
            )
            more = about(visit, outcome)
            if error is not None or outcome.tenure is None:
                verdict = outcome.verdict.value
                unknown = {"outcome": verdict, "holder": None, "term": None, "source": source, "slot": None}
                return Answer({**data, **unknown, **more}, "", error)
            tenure = outcome.tenure
        data |= {
            "outcome": held_or_vacant(tenure),
            "holder": tenure.holder,
            "term": tenure.term,
            "source": source,
            "slot": tenure.slot or None,
            **more,
        }
        if tenure.holder is None:
            vacant = RoleUnfilled(
                sentence(role, tenure) + _by(source), hint=f"`polity elect {shell_word(role)}` fills it"
            )
            return Answer(data, "", vacant)
        if quiet:
            return Answer(data, tenure.holder, note=_label(visit.session.node) if cached else "")
        return Answer(data, sentence(role, tenure) + _by(source))

    in_session("who", options, work)


def _by(source: str) -> str:
    return ", as far as this node's ledger knows" if source == "ledger" else ""


def _label(node: str) -> str:
    return f"from the ledger of {node}, which may be old"
