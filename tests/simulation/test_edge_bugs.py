"""Each bug that is planted outside the rules is caught, and the shortest trace of it printed.

Most are caught by random schedules, the same as those of the shipped code. See the traces with `pytest -s`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from polity_cli import booth
from polity_cli.conduct import Conductor
from polity_cli.core import messages as m
from polity_cli.core import voter
from polity_cli.core.ballot import Ballot
from polity_cli.core.candidacy import Order, Purpose, Verdict
from polity_cli.edges.ledger import Ledger
from polity_cli.edges.memory_ledger import MemoryLedger
from polity_cli.edges.simnet import Seeded, SimNet
from polity_cli.errors import LedgerError
from tests.simulation.chaos import schedule
from tests.simulation.disks import SqliteDisks
from tests.simulation.edge_bugs import DIRECTED, ON_MEMORY, ON_SQLITE
from tests.simulation.judge import Violation, Watch
from tests.simulation.scenarios import SCENARIOS
from tests.simulation.script import Play
from tests.simulation.shrink import shorten
from tests.simulation.witness import Witness
from tests.simulation.world import POLITY, ROLE, SHAPES, electorate_of, enter, voter_id

ENOUGH = 1500
"""Several times what the slowest of them takes."""

MOST_LINES = 150


def first_violation(run: Callable[[int], object], enough: int) -> tuple[int, Violation]:
    for seed in range(enough):
        try:
            run(seed)
        except Violation as violation:
            return seed, violation
    raise AssertionError("not caught")


@pytest.mark.parametrize("name", ON_MEMORY)
def test_random_schedules_catch(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ON_MEMORY[name](monkeypatch)
    seed, violation = first_violation(lambda seed: schedule(seed, "4"), ENOUGH)
    short = shorten(seed, "4", patience_s=5)
    print(f"{name}, schedule {seed}, {short}")
    assert short.violation[:3] == str(violation)[:3]
    assert len(short.transcript) <= MOST_LINES


@pytest.mark.parametrize("name", ON_SQLITE)
def test_random_schedules_on_real_ledgers_catch(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ON_SQLITE[name](monkeypatch)
    opened: list[SqliteDisks] = []

    def disks() -> SqliteDisks:
        folder = tmp_path / str(len(opened))
        folder.mkdir()
        opened.append(SqliteDisks(folder))
        return opened[-1]

    seed, violation = first_violation(lambda seed: schedule(seed, "3", disks=disks()), 40)
    short = shorten(seed, "3", disks=disks, patience_s=3)
    print(f"{name}, schedule {seed}, {short}")
    assert short.violation[:3] == str(violation)[:3]
    for each in opened:
        each.close()


def open_ledger(path: Path) -> Ledger:
    ledger = Ledger.open(str(path), "n0", busy_timeout_s=0.05)
    assert ledger is not None
    return ledger


def prepare(round: int) -> m.Prepare:
    return m.Prepare(b"%08d" % round, POLITY, 1, ROLE, Ballot(round, b"proposer"))


def two_processes_answer_at_once(path: Path) -> None:
    """An agent has read the ledger when a hook handles a higher ballot; then the agent saves."""
    agent = open_ledger(path)
    enter(agent, electorate_of(SHAPES["3"]))
    hook = open_ledger(path)
    watch = Watch(2, 3)
    with agent.transaction(ROLE) as turn:
        step = voter.receive(turn.me, turn.register, prepare(5))
        print(f"the agent has read promised {turn.register.promised} and is about to save 5")
        answer = booth.handle(hook, prepare(9))
        print(f"the hook answers: {m.describe(answer)}" if answer else "the hook is silent")
        watch.remembers("n0", hook.view(ROLE)[1])
        turn.save(step.register)
    watch.remembers("n0", hook.view(ROLE)[1])


def test_two_processes_on_one_ledger_without_a_lock_are_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(LedgerError, match="locked"):
        two_processes_answer_at_once(tmp_path / "with.db")
    DIRECTED["a_turn_takes_no_lock"](monkeypatch)
    with pytest.raises(Violation, match="promised sinks at n0 from 9"):
        two_processes_answer_at_once(tmp_path / "without.db")


def a_node_loses_its_ledger(path: Path) -> None:
    """Raises Violation if the voter that comes back passes for the one that promised."""
    watches: dict[bytes, Watch] = {}
    for life in range(2):
        ledger = open_ledger(path)
        enter(ledger, electorate_of(SHAPES["3"]))
        me = ledger.me().voter
        register = ledger.view(ROLE)[1]
        print(f"life {life + 1}: voter {me.hex()}, promised {register.promised}")
        watches.setdefault(me, Watch(2, 3)).remembers("n0", register)
        booth.handle(ledger, prepare(7))
        watches[me].remembers("n0", ledger.view(ROLE)[1])
        ledger.close()
        for file in path.parent.glob(f"{path.name}*"):
            file.unlink()


def test_a_voter_that_comes_back_under_its_old_id_is_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_node_loses_its_ledger(tmp_path / "random.db")
    DIRECTED["a_voter_id_comes_from_the_name_of_its_node"](monkeypatch)
    with pytest.raises(Violation, match="promised sinks at n0"):
        a_node_loses_its_ledger(tmp_path / "named.db")


def elect_with_a_voter_that_refuses() -> None:
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


def test_a_refusal_that_counts_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    elect_with_a_voter_that_refuses()
    DIRECTED["a_refusal_counts_as_agreement"](monkeypatch)
    with pytest.raises(Violation, match="calls chosen what is not"):
        elect_with_a_voter_that_refuses()


def test_late_answers_to_an_earlier_operation_that_count_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    shape, scenario = SCENARIOS["replies_to_others_do_not_count"]
    scenario(Play(shape))
    DIRECTED["late_answers_of_another_attempt_count"](monkeypatch)
    play = Play(shape)
    with pytest.raises(Violation, match=r"^S3: "):
        scenario(play)
    print(*play.transcript, sep="\n")


def test_every_directed_bug_has_its_test() -> None:
    assert set(DIRECTED) == {
        "a_turn_takes_no_lock",
        "a_voter_id_comes_from_the_name_of_its_node",
        "a_refusal_counts_as_agreement",
        "late_answers_of_another_attempt_count",
    }
