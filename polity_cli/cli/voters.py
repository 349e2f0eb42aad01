"""`polity voters`: the electorate, shown and changed."""

from __future__ import annotations

import click
from click.core import ParameterSource

from polity_cli.cli.common import Command, CommandGroup, Options, with_options
from polity_cli.cli.rescue import rescue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn, TypeVar

    from polity_cli.cli.running import Answer, Visit
    from polity_cli.core.electorate import Electorate, Roll
    from polity_cli.core.enrolment import Wish
    from polity_cli.registrar import Assembly, Enrolment, Plan

    F = TypeVar("F", bound=Callable[..., object])

_LOOK_AGAIN_S = 1.0


@click.group(
    cls=CommandGroup,
    exits=(2, 5, 7, 8, 130),
    example="polity voters",
    invoke_without_command=True,
)
@click.option("--watch", is_flag=True, help="Look again every second, and show what has changed.")
@with_options
@click.pass_context
def voters(context: click.Context, watch: bool, options: Options) -> None:
    """Show the electorate, who is alive, the quorum, and how many may still fail.

    Beside each voter stand Serf's word for its node and whether its voter answered just now. A node that
    answers without being enrolled is shown too: its votes do not count. While the electorate changes, it
    says who joins and who leaves; everything then takes a quorum of the old voters and one of the new.
    """
    from polity_cli.cli.running import in_session

    if context.invoked_subcommand is not None:
        given = [
            name
            for name in context.params
            if context.get_parameter_source(name) not in (ParameterSource.DEFAULT, None)
        ]
        if given:
            raise click.UsageError(f"options go behind the word {context.invoked_subcommand}")
        return

    def work(visit: Visit) -> Answer:
        from polity_cli import registrar

        def look(visit: Visit) -> Answer:
            found = visit.patiently(lambda: registrar.assembly(visit.session, timeout_s=visit.left()))
            return _shown(found, visit.seconds())

        return _watch(look, visit, as_json=options.as_json) if watch else look(visit)

    in_session("voters", options, work)


def _shown(found: Assembly, seconds: float) -> Answer:
    from polity_cli.cli.running import Answer

    spare = _spare(found)
    data = {
        "command": "voters",
        "polity": found.electorate.polity.hex(),
        "epoch": found.electorate.epoch,
        "quorum": found.quorum,
        "population": found.population,
        "may_fail": max(0, spare),
        "may_fail_at_most": found.may_fail,
        "has_quorum": spare >= 0,
        "is_changing": found.electorate.is_joint,
        "rule": str(found.electorate.current.rule),
        "voters": [row._asdict() for row in found.voters],
        "hint": _advice(found, spare),
        "seconds": seconds,
    }
    return Answer(data, describe_assembly(found), note=_advice(found, spare))


def _is_stopped(visit: Visit) -> bool:
    return visit.interruption.signal != 0


def _watch(look: Callable[[Visit], Answer], visit: Visit, *, as_json: bool) -> NoReturn:
    """Show the electorate whenever it is another one than shown last, until interrupted."""
    import json
    from time import sleep

    from polity_cli.cli.running import complain, emit, leave
    from polity_cli.errors import NoQuorum, PolityError

    last: object = None
    while not _is_stopped(visit):
        try:
            answer = look(visit)
            now: object = {key: value for key, value in answer.data.items() if key != "seconds"}
            if now != last:
                emit(json.dumps(dict(answer.data)) if as_json else f"{answer.text}\n")
        except NoQuorum as error:
            now = str(error)
            if now != last:
                complain(error)
        except PolityError:
            if not _is_stopped(visit):
                raise
            break
        last = now
        visit = visit.anew()
        sleep(_LOOK_AGAIN_S)
    leave(128 + visit.interruption.signal)


# Changes.


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


@voters.command(cls=Command, exits=_EXITS, example="polity voters add n4 n5")
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


@voters.command(cls=Command, exits=_EXITS, example="polity voters remove n5")
@click.argument("nodes", metavar="NODE...", nargs=-1, required=True)
@_changing
@with_options(timeout=60.0)
def remove(nodes: tuple[str, ...], dry_run: bool, even_if_it_blocks: bool, options: Options) -> None:
    """Strike nodes off: they vote no more. The roles they hold they keep."""
    from polity_cli import registrar

    def wish(visit: Visit, found: Assembly) -> Wish:
        return registrar.wish_to_remove(nodes, found)

    _change("remove", wish, dry_run, even_if_it_blocks, options)


@voters.command(cls=Command, exits=_EXITS, example="polity voters replace n3 n6")
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


@voters.command(cls=Command, exits=_EXITS, example="polity voters rule --min-votes 2")
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
        raise click.UsageError("give --percent, --min-votes or both")

    def wish(visit: Visit, found: Assembly) -> Wish:
        return Wish(rule=registrar.rule_with(found.electorate.goal, percent, min_votes))

    _change("rule", wish, dry_run, even_if_it_blocks, options)


@voters.command(cls=Command, exits=_EXITS, example="polity voters sync --dry-run")
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


@voters.command(cls=Command, exits=_EXITS, example="polity voters tend", hidden=True)
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


voters.add_command(rescue)


def _change(
    word: str,
    wish_of: Callable[[Visit, Assembly], Wish],
    dry_run: bool,
    even_if_it_blocks: bool,
    options: Options,
) -> None:
    from polity_cli.cli.running import Answer, in_session
    from polity_cli.errors import Unfit

    def work(visit: Visit) -> Answer:
        from polity_cli import registrar

        found = visit.patiently(lambda: registrar.assembly(visit.session, timeout_s=visit.left()))
        wish = wish_of(visit, found)
        plan = registrar.plan(visit.session, wish, found)
        if dry_run:
            return _planned(word, plan, visit.seconds())
        if plan.lacks and not even_if_it_blocks:
            raise Unfit(
                f"not done: {plan.answer_after} of the {plan.target.n} voters there would be answer, "
                f"{plan.target.q} are needed; nothing could be decided until {plan.lacks} more do",
                hint="start their voters first: `polity voters` shows who is silent",
            )
        changed = visit.patiently(
            lambda: registrar.carry_out(visit.session, wish, timeout_s=visit.left(), patient=options.wait)
        )
        outcome = "unchanged" if changed.electorate == found.electorate else "changed"
        data = _data(word, outcome, plan, changed.electorate, changed.carried, visit.seconds())
        return Answer(data, _told(changed.electorate, outcome, changed.carried))

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
    from polity_cli.cli.running import Answer

    lines = [
        f"now:  {_size(plan.electorate.current)}; {plan.answer_before} answer",
        f"then: {_size(plan.target)}; {plan.answer_after} answer",
        f"enrols {', '.join(plan.enrols) or 'nobody'}, strikes off {', '.join(plan.strikes) or 'nobody'}",
    ]
    if plan.is_empty:
        lines.append("nothing to do")
    elif plan.lacks:
        lines.append(f"NOTHING could be decided then, until {plan.lacks} more answer: it is refused")
    data = _data(word, "planned", plan, plan.electorate, (), seconds)
    return Answer(data, "\n".join(lines))


def _told(electorate: Electorate, outcome: str, carried: tuple[str, ...]) -> str:
    names = ", ".join(e.node for e in electorate.voters)
    done = "nothing to do" if outcome == "unchanged" else f"changed, {len(carried)} roles carried over"
    return f"{done}: electorate {electorate.epoch}, {_size(electorate.current)}: {names}"


def _size(roll: Roll) -> str:
    return f"{roll.n} voters, quorum {roll.q} ({roll.rule}), {roll.n - roll.q or 'none'} may fail"


# The electorate as a table.


def describe_assembly(assembly: Assembly) -> str:
    """The electorate as a table with a headline."""
    from polity_cli.cli.running import plain

    electorate = assembly.electorate
    head = (
        f"{electorate.current.n} voters, quorum {assembly.quorum} ({electorate.current.rule}), "
        f"electorate {electorate.epoch} of polity {electorate.polity.hex()}"
    )
    if electorate.is_joint:
        head += f"\nCHANGING to {_size(electorate.goal)}; until then both decide together"
    width = max(len(plain(row.node)) for row in assembly.voters)
    rows = [
        f"  {plain(row.node):{width}}  {row.status:8}  {_word(row):8}  "
        f"{row.voter}{'' if row.enrolled else '  not enrolled: its votes do not count'}"
        f"{'  joins' if row.joins else ''}{'  leaves' if row.leaves else ''}"
        for row in assembly.voters
    ]
    answering = sum(row.enrolled and row.answers for row in assembly.voters)
    spare = _spare(assembly)
    if spare < 0:
        state = f"NO QUORUM: {answering} answer, {assembly.quorum} are needed"
        if electorate.is_joint:
            state = f"NO QUORUM: {answering} answer, a quorum of the old and one of the new are needed"
    elif spare == 0:
        state = f"{answering} answer; none of them may fail"
    else:
        state = f"{answering} answer; {spare} of them may still fail"
    return "\n".join([head, *rows, state])


def _word(row: Enrolment) -> str:
    if row.set_back:
        return "SET BACK"
    return "answers" if row.answers else "silent"


def _spare(assembly: Assembly) -> int:
    """How many of those that answer are not needed; below 0, how many are missing."""
    present = {bytes.fromhex(row.voter) for row in assembly.voters if row.enrolled and row.answers}
    return min(roll.count(present) - roll.q for roll in assembly.electorate.rolls)


def _advice(assembly: Assembly, spare: int) -> str:
    """What to do about what is not as it should be, if anything is not."""
    from polity_cli.cli.found import advice
    from polity_cli.core.witness import way_out

    enrolled = {row.node: row for row in assembly.voters if row.enrolled}
    others = [row for row in assembly.voters if not row.enrolled and not row.set_back]
    set_back = [row.node for row in assembly.voters if row.set_back]
    ids = {row.voter: row.node for row in assembly.voters if row.enrolled}
    copies = [row.node for row in others if row.voter in ids]
    changed = [row.node for row in others if row.node in enrolled and row.voter not in ids]
    strangers = [row.node for row in others if row.node not in enrolled and row.voter not in ids]
    silent = [
        node
        for node, row in enrolled.items()
        if not row.answers and row.status == "alive" and node not in (*changed, *set_back)
    ]
    gone = [node for node, row in enrolled.items() if not row.answers and row.status != "alive"]
    said = []
    if assembly.electorate.is_joint:
        said.append("The electorate is changing: `polity voters sync` on any node finishes that.")
    if set_back:
        said.append(f"{way_out(set_back)}.")
    if copies:
        said.append(
            f"{', '.join(copies)}: a copy of another node's ledger. Stop that voter and move its ledger "
            "away; it then comes back as a voter of its own."
        )
    if changed:
        said.append(
            f"{', '.join(changed)}: another ledger than the one enrolled. If that was only moved, move it "
            "back; if it is lost, `polity voters sync` enrols the node anew. Never bring back an old copy."
        )
    if strangers:
        said.append(f"{', '.join(strangers)}: not enrolled. `polity voters sync` enrols all that answer.")
    if silent:
        said.append(f"{', '.join(silent)}: alive, but the voter is silent. Run `polity doctor` there.")
    if gone and spare <= 0:
        word = "remove" if spare == 0 else "rescue --help"
        said.append(
            f"{', '.join(gone)}: bring back, with its ledger; its votes are safe there. "
            f"{'One' if spare == 0 else 'A majority'} gone for good: `polity voters {word}`."
        )
    if not said:
        return advice(assembly.electorate)
    return " ".join(said)
