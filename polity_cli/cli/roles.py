"""`polity roles`."""

from __future__ import annotations

from time import monotonic

import click

from polity_cli.cli.common import Answer, Command, Options, in_session, with_options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from polity_cli.session import Session


@click.command(cls=Command, example="polity roles --json")
@click.option("--cached", is_flag=True, help="From this node's ledger, which may be old, without asking.")
@with_options
def roles(cached: bool, options: Options) -> None:
    """List every known role with its holder and term."""

    def work(session: Session) -> Answer:
        from polity_cli.cli.output import sentence
        from polity_cli.core.candidacy import Purpose
        from polity_cli.session import error_of

        deadline = monotonic() + options.timeout
        rows: list[dict[str, object]] = []
        lines: list[str] = []
        names = session.remembered_roles() if cached else session.roles(timeout_s=options.timeout)
        for role in names:
            if cached:
                tenure = session.remembered(role)
            else:
                left_s = max(0.001, deadline - monotonic())
                outcome = session.who(role, timeout_s=left_s, patient=options.wait)
                error = error_of((Purpose.QUERY, role), outcome, session.electorate())
                if error is not None or outcome.tenure is None:
                    raise error or AssertionError("an answer without a tenure")
                tenure = outcome.tenure
            source = "ledger" if cached else "quorum"
            rows.append({"role": role, "holder": tenure.holder, "term": tenure.term, "source": source})
            lines.append(sentence(role, tenure))
        note = "" if rows else "no role is known yet; `polity elect ROLE` makes one"
        return Answer({"command": "roles", "roles": rows}, "\n".join(lines), note=note)

    in_session("roles", options, work)
