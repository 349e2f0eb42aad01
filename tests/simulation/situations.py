"""Situations made on purpose, for bugs outside the rules that random schedules do not meet.

Each goes well with the shipped code and raises Violation with its bug. It gets an empty folder for ledgers,
and prints what happens.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from polity_cli import booth
from polity_cli.conduct import Conductor
from polity_cli.core import messages as m
from polity_cli.core import voter
from polity_cli.core.ballot import Ballot
from polity_cli.core.operation import Order, Purpose, Verdict
from polity_cli.edges.ledger import Ledger
from polity_cli.edges.memory_ledger import MemoryLedger
from polity_cli.edges.simnet import Seeded, SimNet
from polity_cli.errors import LedgerError
from tests.judging.operation import Violation
from tests.simulation.scenarios import SCENARIOS
from tests.simulation.script import Play
from tests.simulation.watch import Watch
from tests.simulation.witness import Witness
from tests.simulation.world import POLITY, ROLE, SHAPES, electorate_of, enter, voter_id


def _open(folder: Path) -> Ledger:
    ledger = Ledger.open(str(folder / "ledger"), "n0", busy_timeout_s=0.05)
    assert ledger is not None
    return ledger


def _prepare(round: int) -> m.Prepare:
    return m.Prepare(b"%08d" % round, POLITY, 1, ROLE, Ballot(round, b"proposer"))


def two_processes_answer_at_once(folder: Path) -> None:
    """An agent has read the ledger when a hook handles a higher ballot; then the agent saves."""
    agent = _open(folder)
    enter(agent, electorate_of(SHAPES["3"]))
    hook = _open(folder)
    watch = Watch(2, 3)
    with agent.transaction(ROLE) as turn:
        step = voter.receive(turn.me, turn.register, _prepare(5))
        print(f"the agent has read promised {turn.register.promised} and is about to save 5")
        try:
            answer = booth.handle(hook, _prepare(9))
        except LedgerError as error:
            print(f"the hook says nothing: {error}")
            return
        print(f"the hook answers: {m.describe(answer)}" if answer else "the hook is silent")
        watch.remembers("n0", hook.view(ROLE)[1])
        turn.save(step.register)
    watch.remembers("n0", hook.view(ROLE)[1])


def a_node_loses_its_ledger(folder: Path) -> None:
    """Raises Violation if the voter that comes back passes for the one that promised."""
    watches: dict[bytes, Watch] = {}
    for life in range(2):
        ledger = _open(folder)
        enter(ledger, electorate_of(SHAPES["3"]))
        me = ledger.me().voter
        register = ledger.view(ROLE)[1]
        print(f"life {life + 1}: voter {me.hex()}, promised {register.promised}")
        watches.setdefault(me, Watch(2, 3)).remembers("n0", register)
        booth.handle(ledger, _prepare(7))
        watches[me].remembers("n0", ledger.view(ROLE)[1])
        ledger.close()
        for file in folder.iterdir():
            file.unlink()


def elect_with_a_voter_that_refuses(folder: Path) -> None:
    """n1 is down and n2 knows of no polity: n0's own voter is the only one that can take part."""
    shape = SHAPES["3"]
    electorate = electorate_of(shape)
    witness = Witness(electorate, shape.q, shape.f)
    witness.transcript = []
    net = witness.net = SimNet(booth.answer, seed=1, observer=witness)
    watch = witness.watch(ROLE)
    for number in range(3):
        ledger = MemoryLedger(voter_id(number))
        if number < 2:
            enter(ledger, electorate)
        net.add(f"n{number}", ledger)
    net.crash("n1")
    draws = Seeded(1)
    order = Order(Purpose.ELECT, ROLE, "n0", draws.id())
    outcome = Conductor(net.port("n0"), clock=net.clock, draws=draws).run(
        order, electorate, local=m.Register(), timeout_s=10
    )
    print(*witness.transcript, outcome.verdict, sep="\n")
    assert outcome.verdict is Verdict.WON
    if outcome.chosen is None or not watch.has_chosen(*outcome.chosen):
        raise Violation(f"S3: n0 calls chosen what is not: {outcome.tenure}")


def answers_to_an_earlier_operation_go_astray(folder: Path) -> None:
    """A query is given answers that another one asked for, before an election."""
    shape, scenario = SCENARIOS["replies_to_others_do_not_count"]
    play = Play(shape)
    try:
        scenario(play)
    finally:
        print(*play.transcript, sep="\n")


SITUATIONS: dict[str, Callable[[Path], None]] = {
    "a_turn_takes_no_lock": two_processes_answer_at_once,
    "a_voter_id_comes_from_the_name_of_its_node": a_node_loses_its_ledger,
    "a_refusal_counts_as_agreement": elect_with_a_voter_that_refuses,
    "late_answers_of_another_attempt_count": answers_to_an_earlier_operation_go_astray,
}
"""The bug that each shows."""
