"""`polity voters`."""

from __future__ import annotations

import click

from polity_cli.cli.common import Answer, Command, Options, in_session, with_options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from polity_cli.session import Assembly, Session


@click.command(cls=Command, example="polity voters")
@with_options
def voters(options: Options) -> None:
    """Show the electorate, who is alive, the quorum, and how many may still fail."""

    def work(session: Session) -> Answer:
        assembly = session.assembly(timeout_s=options.timeout)
        data = {
            "command": "voters",
            "polity": assembly.electorate.polity.hex(),
            "epoch": assembly.electorate.epoch,
            "quorum": assembly.quorum,
            "population": assembly.population,
            "may_fail": assembly.may_fail,
            "rule": str(assembly.electorate.current.rule),
            "voters": [row._asdict() for row in assembly.voters],
        }
        return Answer(data, describe_assembly(assembly), note=_advice(assembly))

    in_session("voters", options, work)


def describe_assembly(assembly: Assembly) -> str:
    """The electorate as a table with a headline."""
    head = (
        f"{assembly.population} voters, quorum {assembly.quorum} ({assembly.electorate.current.rule}), "
        f"electorate {assembly.electorate.epoch} of polity {assembly.electorate.polity.hex()}"
    )
    width = max(len(row.node) for row in assembly.voters)
    rows = [
        f"  {row.node:{width}}  {row.status:8}  {'answers' if row.answers else 'silent ':7}  "
        f"{row.voter}{'' if row.enrolled else '  not enrolled: its votes do not count'}"
        for row in assembly.voters
    ]
    answering = sum(row.enrolled and row.answers for row in assembly.voters)
    spare = answering - assembly.quorum
    if spare < 0:
        state = f"NO QUORUM: {answering} answer, {assembly.quorum} are needed"
    elif spare == 0:
        state = f"{answering} answer; none of them may fail"
    else:
        state = f"{answering} answer; {spare} of them may still fail"
    return "\n".join([head, *rows, state])


def _advice(assembly: Assembly) -> str:
    if assembly.may_fail:
        return ""
    return (
        "With this rule no voter may fail. Run more voters before founding, "
        "or found with `polity found --min-votes 2`."
    )
