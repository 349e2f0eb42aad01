"""`polity voters`."""

from __future__ import annotations

import click

from polity_cli.cli.common import Command, Options, with_options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from polity_cli.cli.running import Answer, Visit
    from polity_cli.session import Assembly


@click.command(
    cls=Command,
    exits=(5, 7, 8, 130),
    example="polity voters",
)
@with_options
def voters(options: Options) -> None:
    """Show the electorate, who is alive, the quorum, and how many may still fail.

    Beside each voter stand Serf's word for its node and whether its voter answered just now. A node that
    answers without being enrolled is shown too: its votes do not count.
    """
    from polity_cli.cli.running import Answer, in_session

    def work(visit: Visit) -> Answer:
        assembly = visit.patiently(lambda: visit.session.assembly(timeout_s=visit.left()))
        spare = _spare(assembly)
        data = {
            "command": "voters",
            "polity": assembly.electorate.polity.hex(),
            "epoch": assembly.electorate.epoch,
            "quorum": assembly.quorum,
            "population": assembly.population,
            "may_fail": max(0, spare),
            "may_fail_at_most": assembly.may_fail,
            "has_quorum": spare >= 0,
            "rule": str(assembly.electorate.current.rule),
            "voters": [row._asdict() for row in assembly.voters],
            "hint": _advice(assembly, spare),
            "seconds": visit.seconds(),
        }
        return Answer(data, describe_assembly(assembly), note=_advice(assembly, spare))

    in_session("voters", options, work)


def describe_assembly(assembly: Assembly) -> str:
    """The electorate as a table with a headline."""
    from polity_cli.cli.running import plain

    head = (
        f"{assembly.population} voters, quorum {assembly.quorum} ({assembly.electorate.current.rule}), "
        f"electorate {assembly.electorate.epoch} of polity {assembly.electorate.polity.hex()}"
    )
    width = max(len(plain(row.node)) for row in assembly.voters)
    rows = [
        f"  {plain(row.node):{width}}  {row.status:8}  {'answers' if row.answers else 'silent ':7}  "
        f"{row.voter}{'' if row.enrolled else '  not enrolled: its votes do not count'}"
        for row in assembly.voters
    ]
    answering = sum(row.enrolled and row.answers for row in assembly.voters)
    spare = _spare(assembly)
    if spare < 0:
        state = f"NO QUORUM: {answering} answer, {assembly.quorum} are needed"
    elif spare == 0:
        state = f"{answering} answer; none of them may fail"
    else:
        state = f"{answering} answer; {spare} of them may still fail"
    return "\n".join([head, *rows, state])


def _spare(assembly: Assembly) -> int:
    """How many of those that answer are not needed; below 0, how many are missing."""
    present = {bytes.fromhex(row.voter) for row in assembly.voters if row.enrolled and row.answers}
    return min(roll.count(present) - roll.q for roll in assembly.electorate.rolls)


def _advice(assembly: Assembly, spare: int) -> str:
    """What to do about what is not as it should be, if anything is not."""
    from polity_cli.cli.found import advice

    enrolled = {row.node: row for row in assembly.voters if row.enrolled}
    others = [row.node for row in assembly.voters if not row.enrolled]
    changed = [node for node in others if node in enrolled]
    strangers = [node for node in others if node not in enrolled]
    silent = [
        node
        for node, row in enrolled.items()
        if not row.answers and row.status == "alive" and node not in changed
    ]
    gone = [node for node, row in enrolled.items() if not row.answers and row.status != "alive"]
    said = []
    if changed:
        said.append(
            f"{', '.join(changed)}: another ledger than the one enrolled. If that was only moved, move it "
            "back; never bring back an old copy."
        )
    if strangers:
        said.append(f"{', '.join(strangers)}: not there at the founding. Can stand for roles, does not vote.")
    if silent:
        said.append(f"{', '.join(silent)}: alive, but the voter is silent. Run `polity doctor` there.")
    if gone and spare <= 0:
        said.append(f"{', '.join(gone)}: bring back, with its ledger; its votes are safe there.")
    if not said:
        return advice(assembly.electorate)
    return " ".join(said)
