"""`polity found`."""

from __future__ import annotations

import click

from polity_cli.cli.common import Answer, Command, Options, in_session, with_options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from polity_cli.core.electorate import Electorate
    from polity_cli.session import Session


@click.command(cls=Command, example="polity found --expect 5")
@click.option(
    "--expect", type=click.IntRange(min=1), metavar="N", help="At least so many voters [MIN-VOTES]."
)
@click.option(
    "--percent", type=float, default=50.0, show_default=True, metavar="P", help="More than P % decide."
)
@click.option(
    "--min-votes",
    type=click.IntRange(1, 255),
    default=3,
    show_default=True,
    metavar="N",
    help="And at least N.",
)
@with_options
def found(expect: int | None, percent: float, min_votes: int, options: Options) -> None:
    """Found the polity: fix who votes, and how many votes decide.

    Every member with the voters' tag must answer, once. Where the polity is founded already, says so and
    changes nothing.
    """

    def work(session: Session) -> Answer:
        from polity_cli.core.quorum import QuorumPercentage

        rule = QuorumPercentage(percent / 100, min_votes)
        electorate, is_new = session.found(expect=expect, rule=rule, timeout_s=options.timeout)
        roll = electorate.current
        data = {
            "command": "found",
            "outcome": "founded" if is_new else "already_founded",
            "polity": electorate.polity.hex(),
            "epoch": electorate.epoch,
            "quorum": roll.q,
            "population": roll.n,
            "may_fail": roll.n - roll.q,
            "rule": str(roll.rule),
            "voters": [{"node": e.node, "voter": e.voter.hex()} for e in electorate.voters],
        }
        return Answer(data, _say(electorate, is_new), note=_advice(electorate))

    in_session("found", options, work)


def _say(electorate: Electorate, is_new: bool) -> str:
    roll = electorate.current
    names = ", ".join(e.node for e in electorate.voters)
    return (
        f"polity {electorate.polity.hex()} {'is founded' if is_new else 'was founded before'}: "
        f"{roll.n} voters ({names}), quorum {roll.q} ({roll.rule}); {roll.n - roll.q} may fail"
    )


def _advice(electorate: Electorate) -> str:
    roll = electorate.current
    if roll.n > roll.q:
        return ""
    return (
        "No voter may fail: while one is down, nothing can be decided. To change that, run more voters, or "
        f"want fewer votes: `polity found --min-votes {roll.n // 2 + 1}`. A polity keeps the rule it was "
        "founded with; to found it anew, stop all voters and move their ledgers away."
    )
