"""`polity voters add`, `remove`, `replace`, `rule`, `sync`: the electorate changed."""

from __future__ import annotations

import click

from polity_cli.cli.common import Command, Options, with_options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from polity_cli.cli.running import Answer, Visit
    from polity_cli.core.electorate import Electorate, Roll
    from polity_cli.core.enrolment import Wish
    from polity_cli.registrar import Assembly, Plan

    F = TypeVar("F", bound=Callable[..., object])


def _changing(function: F) -> F:
    """The options that all changes share."""
    for option in (
        click.option(
            "--even-if-it-blocks",
            is_flag=True,
            help="Do it although too few of the new voters answer: NOTHING can be decided until more do.",
        ),
        click.option("-n", "--dry-run", is_flag=True, help="Only say what would come of it."),
    ):
        function = option(function)
    return function


_EXITS = (2, 5, 6, 7, 8, 130)


@click.command(cls=Command, exits=_EXITS, example="polity voters add n4 n5")
@click.argument("nodes", metavar="NODE...", nargs=-1, required=True)
@_changing
@with_options(timeout=60.0)
def add(nodes: tuple[str, ...], dry_run: bool, even_if_it_blocks: bool, options: Options) -> None:
    """Enrol nodes as voters.

    Each must answer as a voter. One that is enrolled but lost its ledger is enrolled anew, in place of the
    voter it was.
    """
    from polity_cli import registrar

    def wish(visit: Visit, found: Assembly) -> Wish:
        return registrar.wish_to_add(visit.session, nodes, found)

    _change("add", wish, dry_run, even_if_it_blocks, options)


@click.command(cls=Command, exits=_EXITS, example="polity voters remove n5")
@click.argument("nodes", metavar="NODE...", nargs=-1, required=True)
@_changing
@with_options(timeout=60.0)
def remove(nodes: tuple[str, ...], dry_run: bool, even_if_it_blocks: bool, options: Options) -> None:
    """Strike nodes off: they vote no more. The roles they hold they keep.

    Where agents run, take the voters' tag from them first, or they are enrolled again.
    """
    from polity_cli import registrar

    def wish(visit: Visit, found: Assembly) -> Wish:
        return registrar.wish_to_remove(nodes, found)

    _change("remove", wish, dry_run, even_if_it_blocks, options)


@click.command(cls=Command, exits=_EXITS, example="polity voters replace n3 n6")
@click.argument("node", metavar="NODE")
@click.argument("by", metavar="[BY]", required=False)
@_changing
@with_options(timeout=60.0)
def replace(node: str, by: str | None, dry_run: bool, even_if_it_blocks: bool, options: Options) -> None:
    """Let BY vote in place of NODE, in one change.

    Without BY the node itself is enrolled anew, with the ledger that it has now.
    """
    from polity_cli import registrar

    def wish(visit: Visit, found: Assembly) -> Wish:
        return registrar.wish_to_replace(visit.session, node, by or node, found)

    _change("replace", wish, dry_run, even_if_it_blocks, options)


@click.command(cls=Command, exits=_EXITS, example="polity voters rule --min-votes 2")
@click.option("--percent", type=click.FloatRange(50, 100), metavar="P", help="More than P % decide.")
@click.option("--min-votes", type=click.IntRange(1, 255), metavar="N", help="And at least N.")
@_changing
@with_options(timeout=60.0)
def rule(
    percent: float | None, min_votes: int | None, dry_run: bool, even_if_it_blocks: bool, options: Options
) -> None:
    """Change how many votes decide. What is not given stays as it is."""
    from polity_cli import registrar
    from polity_cli.core.enrolment import Wish

    if percent is None and min_votes is None:
        here = click.get_current_context()
        raise click.UsageError("give --percent, --min-votes or both", ctx=here)

    def wish(visit: Visit, found: Assembly) -> Wish:
        return Wish(rule=registrar.rule_with(found.electorate.goal, percent, min_votes))

    _change("rule", wish, dry_run, even_if_it_blocks, options)


@click.command(cls=Command, exits=_EXITS, example="polity voters sync --dry-run")
@_changing
@with_options(timeout=60.0)
def sync(dry_run: bool, even_if_it_blocks: bool, options: Options) -> None:
    """Enrol all members with the voters' tag that answer, strike off those that left, finish what was begun.

    Failed nodes stay enrolled: they may come back. `polity voters remove` strikes them off.
    """
    from polity_cli import registrar

    def wish(visit: Visit, found: Assembly) -> Wish:
        return registrar.wish_to_sync(visit.session, found)

    _change("sync", wish, dry_run, even_if_it_blocks, options)


@click.command(cls=Command, exits=_EXITS, example="polity voters tend", hidden=True)
@with_options(timeout=60.0)
def tend(options: Options) -> None:
    """Look once whether the electorate is in line with the cluster, as `polity agent` does.

    Started by an election that saw something out of line, where no agent runs.
    """
    from polity_cli.cli.running import Answer, in_session, say

    def work(visit: Visit) -> Answer:
        from time import sleep

        from polity_cli import upkeep

        settings = options.settings()

        def wait(seconds: float) -> bool:
            sleep(seconds)
            return visit.interruption.signal != 0

        changed = upkeep.tend(
            visit.session, settings.upkeep, state_dir=settings.state_dir, wait=wait, log=say
        )
        return Answer({"command": "voters tend", "outcome": "changed" if changed else "unchanged"})

    in_session("voters tend", options, work)


def _change(
    word: str,
    wish_of: Callable[[Visit, Assembly], Wish],
    dry_run: bool,
    even_if_it_blocks: bool,
    options: Options,
) -> None:
    from polity_cli.cli.running import Answer, in_session

    def work(visit: Visit) -> Answer:
        from polity_cli import registrar

        found = visit.patiently(lambda: registrar.assembly(visit.session, timeout_s=visit.left()))
        wish = wish_of(visit, found)
        plan = registrar.plan(wish, found)
        if dry_run:
            return _planned(word, plan, visit.seconds())
        changed = visit.patiently(
            lambda: registrar.carry_out(
                visit.session,
                wish,
                found,
                timeout_s=visit.left(),
                patient=options.wait,
                may_block=even_if_it_blocks,
            )
        )
        outcome = "unchanged" if changed.electorate == found.electorate else "changed"
        data = _data(word, outcome, plan, changed.electorate, changed.carried, visit.seconds())
        enrolled = {e.node for e in changed.electorate.voters}
        again = [
            node.name
            for node in visit.session.members()
            if node.votes and node.status == "alive" and node.name in set(plan.strikes) - enrolled
        ]
        note = f"{', '.join(again)}: still with the voters' tag, so agents enrol it again: take the tag away."
        text = _told(changed.electorate, outcome, changed.carried)
        return Answer(data, text, note=note if again else "")

    in_session(f"voters {word}", options, work)


def _data(
    word: str, outcome: str, plan: Plan, electorate: Electorate, carried: tuple[str, ...], seconds: float
) -> dict[str, object]:
    def size(roll: Roll, answer: int) -> dict[str, int]:
        return {"population": roll.n, "quorum": roll.q, "may_fail": roll.n - roll.q, "answer": answer}

    return {
        "command": f"voters {word}",
        "outcome": outcome,
        "polity": electorate.polity.hex(),
        "epoch": electorate.epoch,
        "before": size(plan.electorate.current, plan.answer_before),
        "after": size(plan.target, plan.answer_after),
        "enrols": list(plan.enrols),
        "strikes": list(plan.strikes),
        "carried": list(carried),
        "rule": str(plan.target.rule),
        "seconds": seconds,
    }


def _planned(word: str, plan: Plan, seconds: float) -> Answer:
    from polity_cli.cli.assembly import size_of
    from polity_cli.cli.running import Answer

    lines = [
        f"now:  {size_of(plan.electorate.current)}; {plan.answer_before} answer",
        f"then: {size_of(plan.target)}; {plan.answer_after} answer",
        f"enrols {', '.join(plan.enrols) or 'nobody'}, strikes off {', '.join(plan.strikes) or 'nobody'}",
    ]
    if plan.is_empty:
        lines.append("nothing to do")
    elif plan.lacks:
        lines.append(f"NOTHING could be decided then, until {plan.lacks} more answer: it is refused")
    data = _data(word, "planned", plan, plan.electorate, (), seconds)
    return Answer(data, "\n".join(lines))


def _told(electorate: Electorate, outcome: str, carried: tuple[str, ...]) -> str:
    from polity_cli.cli.assembly import counted, size_of

    names = ", ".join(e.node for e in electorate.voters)
    done = (
        "nothing to do"
        if outcome == "unchanged"
        else f"changed, {counted(len(carried), 'role')} carried over"
    )
    return f"{done}: electorate {electorate.epoch}, {size_of(electorate.current)}: {names}"
