"""`polity found`."""

from __future__ import annotations

import click
from click.core import ParameterSource

from polity_cli.cli.common import Command, Options, with_options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from polity_cli.cli.running import Answer, Visit
    from polity_cli.core.electorate import Electorate
    from polity_cli.core.quorum import QuorumRule


@click.command(
    cls=Command,
    exits=(2, 5, 6, 7, 8, 130),
    example="polity found --expect 5",
)
@click.option(
    "--expect",
    type=click.IntRange(min=1),
    metavar="N",
    help="At least so many voters [MIN-VOTES, at least 3].",
)
@click.option(
    "--percent",
    type=click.FloatRange(0, 100),
    default=50.0,
    show_default=True,
    metavar="P",
    help="More than P % decide; 50 at least, or two nodes could be elected.",
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
@click.pass_context
def found(
    context: click.Context, expect: int | None, percent: float, min_votes: int, options: Options
) -> None:
    """Found the polity: fix who votes, and how many votes decide.

    Every member with the voters' tag must answer, once. Where the polity is founded already, says so and
    changes nothing; with 8 if it is not what the options given ask for.

    With 3 voters the default rule needs all three votes, so none may fail; `--min-votes 2` lets one fail. A
    polity of one: `--expect 1 --min-votes 1`.
    """
    from polity_cli.cli.running import Answer, in_session
    from polity_cli.core.quorum import QuorumPercentage
    from polity_cli.errors import BadInput

    if percent < 50:
        raise BadInput(
            f"a quorum of more than {percent:g} percent is unsafe: two such quorums could miss each other "
            "and elect two nodes",
            hint="--percent takes 50 (more than half of the voters) to 100 (all of them)",
        )
    rule = QuorumPercentage(percent / 100, min_votes)
    given = {context.get_parameter_source(name) for name in ("percent", "min_votes")}
    wanted = None if given == {ParameterSource.DEFAULT} else rule

    def work(visit: Visit) -> Answer:
        electorate, is_new = visit.patiently(
            lambda: visit.session.found(expect=expect, rule=rule, timeout_s=visit.left())
        )
        if not is_new:
            _check_same(electorate, expect, wanted)
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
            "hint": advice(electorate),
            "seconds": visit.seconds(),
        }
        return Answer(data, say_founded(electorate, is_new=is_new), note=advice(electorate))

    in_session("found", options, work)


def _check_same(electorate: Electorate, expect: int | None, rule: QuorumRule | None) -> None:
    """Refuse to call a polity a success that is not the one asked for."""
    from polity_cli.errors import FoundingRefused

    roll = electorate.current
    hint = "see `polity voters`; `polity voters add` and `polity voters rule` change it"
    if expect is not None and roll.n < expect:
        raise FoundingRefused(f"the polity was founded before, with {roll.n} voters, not {expect}", hint=hint)
    if rule is not None and rule != roll.rule:
        raise FoundingRefused(
            f"the polity was founded before, with the rule: {roll.rule}; asked for is: {rule}", hint=hint
        )


def say_founded(electorate: Electorate, *, is_new: bool = True) -> str:
    """Who votes, and how many votes decide."""
    roll = electorate.current
    names = ", ".join(e.node for e in electorate.voters)
    return (
        f"polity {electorate.polity.hex()} {'is founded' if is_new else 'was founded before'}: "
        f"{roll.n} voters ({names}), quorum {roll.q} ({roll.rule}); {roll.n - roll.q or 'none'} may fail"
    )


def advice(electorate: Electorate) -> str:
    """What could be done about an electorate of which no voter may fail; nothing about others."""
    roll = electorate.current
    if roll.n > roll.q:
        return ""
    if roll.n < 3:
        cure = "run 3 voters or more."
    else:
        cure = f"want fewer votes: `polity voters rule --min-votes {roll.n // 2 + 1}`; or run more voters."
    return f"No voter may fail: while one is down, nothing can be decided. To change that, {cure}"
