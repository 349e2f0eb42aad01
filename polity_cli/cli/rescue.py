"""`polity voters rescue`."""

from __future__ import annotations

import click

from polity_cli.cli.common import Command
from polity_cli.core.rescue import TERM_JUMP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from polity_cli.cli.running import Answer
    from polity_cli.core.electorate import Electorate
    from polity_cli.rescue import Memory, Rescued

_FLAG = "--i-know-that-decisions-may-be-lost"


@click.command(cls=Command, exits=(2, 8), example="polity voters rescue --show")
@click.option("--show", is_flag=True, help="Only show what this ledger knows, to compare it with others.")
@click.option(_FLAG, "sure", is_flag=True, help="Do it.")
@click.option(
    "--also", multiple=True, metavar="ROLE", help="A role that was used, should it be missing here."
)
@click.option(
    "--jump",
    type=click.IntRange(2, 10**12),
    default=TERM_JUMP,
    show_default=True,
    metavar="N",
    help="How far terms are raised: more than can have passed unseen here.",
)
@click.option("--node", metavar="NAME", help="Whose ledger, if several are there.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
@click.option("--state-dir", metavar="DIR", help="Where ledgers are [env POLITY_STATE_DIR].")
@click.option("--namespace", metavar="NAME", help="Which polity [env POLITY_NAMESPACE; polity].")
@click.option("--config", metavar="FILE", help="Configuration file [env POLITY_CONFIG].")
def rescue(
    show: bool,
    sure: bool,
    also: tuple[str, ...],
    jump: int,
    node: str | None,
    as_json: bool,
    state_dir: str | None,
    namespace: str | None,
    config: str | None,
) -> None:
    """Make this node the only voter, when a majority of the voters is gone FOR EVER.

    The last resort: what only the lost voters knew is lost. It works on this node's ledger alone and asks
    nobody. The node becomes the only voter of a new polity, to which it takes all roles that it knows of,
    each in a much higher term. The old ledger is kept, and a record is left.

    Never while they may come back: they would go on as the old polity, and a role could have a holder in
    each. Commands that meet voters of both stop with exit code 8.

    Choose the survivor that knows most: run it with --show on each, and compare electorate, roles and terms.
    Afterwards move the ledgers of all other nodes away; `polity voters add` then enrols them.
    """
    from polity_cli.cli.running import finish
    from polity_cli.errors import BadInput
    from polity_cli.settings import load

    def run() -> Answer:
        from polity_cli import rescue as work

        if show and sure:
            raise BadInput(f"either --show or {_FLAG}", hint="first the one, then the other")
        settings = load(state_dir=state_dir, namespace=namespace, config=config)
        name, path = work.find_ledger(settings.state_dir, settings.namespace, node)
        if show:
            return _shown(work.show(path, name))
        if not sure:
            memory = work.show(path, name)
            lost = ", ".join(e.node for e in memory.electorate.voters if e.node != name) or "nobody"
            raise BadInput(
                f"not done: whatever {lost} decided without {name} would be lost, and should they ever come "
                "back, there would be two polities, each with holders of its own",
                hint=f"if `polity voters` finds no quorum and they are gone for ever: add {_FLAG}. "
                "Before that compare the survivors with --show: rescue on the one that knows most",
            )
        return _done(work.carry_out(path, name, also=also, jump=jump))

    finish("voters rescue", run, as_json=as_json)


def _data(memory: Memory) -> dict[str, object]:
    roll = memory.electorate.current
    return {
        "command": "voters rescue",
        "outcome": "shown",
        "node": memory.node,
        "voter": memory.me.voter.hex(),
        "polity": memory.me.polity.hex(),
        "epoch": memory.me.epoch,
        "quorum": roll.q,
        "population": roll.n,
        "voters": [{"node": e.node, "voter": e.voter.hex()} for e in memory.electorate.voters],
        "roles": [row._asdict() | {"old_term": None} for row in memory.roles],
        "ledger": memory.path,
        "old_polity": None,
        "kept": None,
        "record": None,
    }


def _shown(memory: Memory) -> Answer:
    from polity_cli.cli.running import Answer, plain

    me, electorate = memory.me, memory.electorate
    head = f"{memory.node}, voter {me.voter.hex()}: {_electorate(electorate)}"
    if electorate.node_of(me.voter) != memory.node:
        head += f"; {memory.node} is NOT one of them"
    width = max((len(plain(row.role)) for row in memory.roles), default=0)
    rows = [
        f"  {plain(row.role):{width}}  term {row.term} {plain(row.holder or 'vacant')}  {row.known}"
        f"  accepted {row.accepted}, promised {row.promised}"
        for row in memory.roles
    ]
    note = (
        "The higher the electorate's number, the terms and the rounds of ballots (times in milliseconds), "
        "the newer. `confirmed` was decided; `accepted` perhaps; of `promised` only the name is known."
    )
    return Answer(_data(memory), "\n".join([head, *(rows or ["  no roles"])]), note=note)


def _done(done: Rescued) -> Answer:
    from polity_cli.cli.running import Answer, plain

    before, after = done.before, done.after
    data = _data(after) | {
        "outcome": "rescued",
        "roles": [row._asdict() | {"old_term": term} for row, term in done.changes()],
        "old_polity": before.me.polity.hex(),
        "kept": done.kept,
        "record": done.record,
    }
    width = max((len(plain(row.role)) for row in after.roles), default=0)
    rows = [
        f"  {plain(row.role):{width}}  term {row.term} {plain(row.holder or 'vacant')}"
        f"  (before: term {term}, {row.known})"
        for row, term in done.changes()
    ]
    lines = [
        f"rescued: {after.node}, voter {after.me.voter.hex()}, alone is {_electorate(after.electorate)}",
        *(rows or ["  no roles"]),
        f"the ledger as it was: {done.kept}",
        f"what was done:        {done.record}",
    ]
    note = (
        f"Now, on every other node that has a ledger of the old polity {before.me.polity.hex()}: stop its "
        "voter and move the ledger away; then `polity voters add` enrols it. Look through `polity roles`: "
        "what was decided without this node is not in it."
    )
    return Answer(data, "\n".join(lines), note=note)


def _electorate(electorate: Electorate) -> str:
    roll = electorate.current
    names = ", ".join(e.node for e in electorate.voters)
    return (
        f"electorate {electorate.epoch} of polity {electorate.polity.hex()}, {roll.n} "
        f"voter{'' if roll.n == 1 else 's'} ({names}), quorum {roll.q}"
    )
