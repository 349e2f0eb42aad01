"""The simulator itself: time, faults one by one, nodes that die, and a Conductor that does not know of it."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import pytest

from polity_cli import booth
from polity_cli.conduct import Conductor
from polity_cli.core import messages as m
from polity_cli.core.electorate import Electorate
from polity_cli.core.founding import Verdict as FoundingVerdict
from polity_cli.core.operation import Order, Outcome, Purpose, Verdict
from polity_cli.core.quorum import SimpleMajority
from polity_cli.edges.memory_ledger import MemoryLedger
from polity_cli.edges.simnet import DETECTION_S, Observer, Seeded, SimNet
from polity_cli.edges.simnet_crash import Point
from polity_cli.edges.simnet_faults import (
    Cut,
    Delay,
    Drop,
    Duplicate,
    During,
    Fault,
    Only,
    Parcel,
    Reorder,
    Slow,
    Stray,
    Way,
    hits,
)
from polity_cli.edges.simnet_operation import SimOperation
from polity_cli.errors import NoQuorum
from tests.simulation.world import POLITY, SHAPES, electorate_of, enter, voter_id

ROLE = "leader"


class Diary(Observer):
    """What happened, in words."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def arrived(self, parcel: Parcel, reply: bytes | None) -> None:
        self.lines.append(
            f"{parcel.way.value} at {parcel.target}: {'silence' if reply is None else 'answer'}"
        )

    def happened(self, node: str, what: str) -> None:
        self.lines.append(f"{node} {what}")


def network(*faults: Fault, seed: int = 1, observer: Observer | None = None) -> tuple[SimNet, Electorate]:
    """Three voters on n0 to n2 that know of their polity, and n3 that only asks."""
    electorate = electorate_of(SHAPES["3"])
    net = SimNet(booth.answer, seed=seed, faults=faults, observer=observer)
    for number in range(3):
        ledger = MemoryLedger(voter_id(number))
        enter(ledger, electorate)
        net.add(f"n{number}", ledger)
    net.add("n3")
    return net, electorate


def conductor(net: SimNet, node: str, seed: int = 1) -> Conductor:
    return Conductor(net.port(node), clock=net.clock, draws=Seeded(seed))


def run(
    net: SimNet, electorate: Electorate, purpose: Purpose, node: str = "n0", *, timeout_s: float = 15.0
) -> Outcome:
    """An operation from start to end, by the shipped loop."""
    order = Order(purpose, ROLE, node, Seeded(net.tick).id())
    return conductor(net, node, net.tick).run(order, electorate, local=None, timeout_s=timeout_s)


def operation(
    net: SimNet, electorate: Electorate, name: str, home: str, *, seed: int, dies_after: int | None = None
) -> SimOperation:
    draws = Seeded(seed)
    order = Order(Purpose.ELECT, ROLE, home, draws.id())
    return SimOperation(
        net, order, electorate, name=name, home=home, draws=draws, limit_s=20.0, dies_after=dies_after
    )


def test_a_conductor_runs_on_it_unchanged() -> None:
    net, electorate = network()
    won = run(net, electorate, Purpose.ELECT, "n1")
    assert (won.verdict, won.round_trips) == (Verdict.WON, 2)
    assert run(net, electorate, Purpose.ELECT, "n2").verdict is Verdict.LOST
    assert run(net, electorate, Purpose.RECALL, "n3").verdict is Verdict.RECALLED
    answer = run(net, electorate, Purpose.QUERY, "n3")
    assert answer.tenure is not None
    assert (answer.tenure.term, answer.tenure.holder) == (2, None)


def test_a_polity_is_founded_on_it_and_learnt_from_it() -> None:
    net = SimNet(booth.answer, seed=3, faults=[Drop(0.1), Duplicate(0.1, 0.2)])
    for number in range(4):
        net.add(f"n{number}", MemoryLedger(voter_id(number)))
    nodes = [f"n{number}" for number in range(4)]
    founded = conductor(net, "n0").found(nodes, POLITY, SimpleMajority, timeout_s=30)
    assert founded.verdict is FoundingVerdict.FOUNDED
    learnt = conductor(net, "n3").learn_electorate(timeout_s=10)
    assert learnt == founded.record


def test_waiting_moves_the_time_and_nothing_else_does() -> None:
    net, electorate = network(Drop(1.0))
    assert net.clock() == 0
    outcome = run(net, electorate, Purpose.QUERY, timeout_s=5)
    assert outcome.verdict is Verdict.NO_QUORUM
    assert net.clock() == 5


def test_operations_run_at_once_beside_a_conductor() -> None:
    net, electorate = network()
    rivals = [operation(net, electorate, f"E{i}", f"n{i}", seed=100 + i) for i in range(3)]
    for rival in rivals:
        net.call_at(0.005, lambda op: op.begin(local=None), rival)
    mine = run(net, electorate, Purpose.ELECT, "n3")
    net.run(20.0)
    verdicts = [mine.verdict, *(rival.outcome.verdict for rival in rivals if rival.outcome is not None)]
    assert sorted(v.value for v in verdicts) == ["lost", "lost", "lost", "won"]


@pytest.mark.parametrize("step", range(1, 9))
def test_an_operation_dies_after_any_step(step: int) -> None:
    net, electorate = network()
    dying = operation(net, electorate, "E0", "n0", seed=1, dies_after=step)
    dying.begin(local=m.Register())
    net.run(20.0)
    assert dying.stopped == (step <= 4), "beginning and three answers are all the steps it takes"
    assert run(net, electorate, Purpose.ELECT, "n1").verdict in (Verdict.LOST, Verdict.WON)


def test_a_clock_that_goes_faster_rings_earlier() -> None:
    net, electorate = network(Drop(1.0))
    draws = Seeded(1)
    fast = SimOperation(
        net,
        Order(Purpose.QUERY, ROLE, "n3", draws.id()),
        electorate,
        name="W",
        home="n3",
        draws=draws,
        rate=10.0,
        limit_s=5.0,
    )
    fast.begin(local=None)
    net.run(20.0)
    assert len(fast.sent) == 6
    net.run(20.0)
    assert fast.outcome is not None
    assert fast.outcome.verdict is Verdict.NO_QUORUM


def course(seed: int) -> list[str]:
    diary = Diary()
    net, electorate = network(Drop(0.2), Delay(0.3, 0.3), Duplicate(0.2, 0.5), seed=seed, observer=diary)
    run(net, electorate, Purpose.ELECT, "n1")
    return [*diary.lines, str(net.now_s)]


def test_one_seed_gives_one_course_of_events() -> None:
    assert course(5) == course(5)
    assert course(5) != course(6)


# Faults, one by one, on a parcel from n0 to n1.


def parcel(way: Way = Way.ASK, source: str = "n0", target: str = "n1", *, sent_s: float = 0.0) -> Parcel:
    net, _ = network()
    return Parcel(1, way, net.port("n0"), 0, source, target, b"", sent_s, sent_s + 0.02)


ANSWER = parcel(Way.ANSWER, "n1", "n0")


def through(fault: Fault, *parcels: Parcel) -> list[Sequence[Parcel]]:
    chance = Random(1)
    return [fault(each, chance) for each in parcels]


@pytest.mark.parametrize(
    ("fault", "sent", "arrive"),
    [
        (Drop(1.0), parcel(), 0),
        (Drop(0.0), parcel(), 1),
        (Duplicate(1.0, 0.1), parcel(), 2),
        (Cut({"n0"}, {"n1"}), parcel(), 0),
        (Cut({"n0"}, {"n1"}), ANSWER, 0),
        (Cut({"n0"}, {"n1"}, one_way=True), parcel(), 0),
        (Cut({"n0"}, {"n1"}, one_way=True), ANSWER, 1),
        (Cut({"n0"}, {"n2"}), parcel(), 1),
        (Only(Way.ANSWER, Drop(1.0)), parcel(), 1),
        (Only(Way.ANSWER, Drop(1.0)), ANSWER, 0),
        (During(1.0, 2.0, Drop(1.0)), parcel(sent_s=0.9), 1),
        (During(1.0, 2.0, Drop(1.0)), parcel(sent_s=1.0), 0),
        (During(1.0, 2.0, Drop(1.0)), parcel(sent_s=2.0), 1),
    ],
)
def test_a_fault_lets_through(fault: Fault, sent: Parcel, arrive: int) -> None:
    (passed,) = through(fault, sent)
    assert len(passed) == arrive
    assert sum(hits([fault]).values()) == (0 if arrive == 1 else 1)


def test_a_delay_a_copy_and_a_slow_node_come_later_than_they_would() -> None:
    on_time = parcel().due_s
    ((late,),) = through(Delay(1.0, 0.5), parcel())
    ((_, copy),) = through(Duplicate(1.0, 0.5), parcel())
    ((slow,),) = through(Slow("n0", 0.5), parcel())
    ((other,),) = through(Slow("n2", 0.5), parcel())
    assert late.due_s > on_time
    assert copy.due_s > on_time
    assert slow.due_s == on_time + 0.5
    assert other.due_s == on_time


def test_a_parcel_that_is_held_back_arrives_after_the_next_one() -> None:
    first, second = parcel(), parcel(sent_s=1.0)
    held, both = through(Reorder(1.0), first, second)
    assert held == ()
    assert [each.sent_s for each in both] == [1.0, 0.0]
    assert both[0].due_s < both[1].due_s


def test_an_answer_goes_astray_to_another_caller() -> None:
    net, _ = network()
    other = net.port("n3")
    ((stray,),) = through(Stray(1.0, lambda: [other]), ANSWER)
    assert (stray.caller, stray.target) == (other, "n3")
    ((question,),) = through(Stray(1.0, lambda: [other]), parcel())
    assert question.target == "n1"


# Nodes.


@pytest.mark.parametrize(
    ("point", "remembers"), [(Point.BEFORE_SAVE, False), (Point.BEFORE_REPLY, True)], ids=lambda v: str(v)
)
def test_a_voter_dies_at_a_point_and_says_nothing(point: Point, remembers: bool) -> None:
    diary = Diary()
    net, electorate = network(observer=diary)
    net.arm("n2", point)
    e = operation(net, electorate, "E0", "n0", seed=1)
    e.begin(local=m.Register())
    net.run(0.2)
    assert "ask at n2: silence" in diary.lines
    assert f"n2 dies {point.value}" in diary.lines
    assert not net.is_up("n2")
    assert (net.ledger("n2").view(ROLE)[1] != m.Register()) == remembers


def test_a_voter_that_is_down_loses_what_arrives_and_comes_back_with_its_memory() -> None:
    diary = Diary()
    net, electorate = network(observer=diary)
    run(net, electorate, Purpose.ELECT)
    net.run(net.now_s + 1)
    register = net.ledger("n2").view(ROLE)[1]
    net.crash("n2")
    run(net, electorate, Purpose.RECALL)
    assert net.ledger("n2").view(ROLE)[1] == register
    net.restart("n2")
    run(net, electorate, Purpose.ELECT, "n3")
    assert net.ledger("n2").view(ROLE)[1] != register
    assert diary.lines.count("n2 starts again") == 1


def test_a_voter_with_another_ledger_is_a_stranger_whose_votes_do_not_count() -> None:
    diary = Diary()
    net, electorate = network(observer=diary)
    net.crash("n1")
    for node in ("n1", "n2"):
        stranger = MemoryLedger(b"stranger" if node == "n1" else b"newcomer")
        enter(stranger, electorate)
        net.restart(node, stranger)
    outcome = run(net, electorate, Purpose.ELECT, timeout_s=5)
    assert outcome.verdict in (Verdict.NO_QUORUM, Verdict.UNKNOWN)
    assert "n1 starts without its ledger" in diary.lines


def test_a_paused_node_does_everything_afterwards() -> None:
    diary = Diary()
    net, electorate = network(observer=diary)
    net.pause("n2")
    e = operation(net, electorate, "E0", "n0", seed=1)
    e.begin(local=m.Register())
    net.run(3.0)
    assert e.outcome is not None
    assert "ask at n2: answer" not in diary.lines
    net.resume("n2")
    net.run(3.1)
    assert diary.lines.count("ask at n2: answer") == len(e.sent)
    assert net.ledger("n2").view(ROLE)[1] == net.ledger("n1").view(ROLE)[1]


def test_an_operation_on_a_paused_node_sleeps_too() -> None:
    net, electorate = network()
    e = operation(net, electorate, "E0", "n3", seed=1)
    e.begin(local=None)
    net.pause("n3")
    net.run(10.0)
    assert e.is_active
    assert len(e.sent) == 1
    net.resume("n3")
    net.run(12.0)
    assert not e.is_active


def test_the_failure_detector_is_late() -> None:
    net, _ = network()
    net.crash("n1")
    assert {node.name for node in net.members() if node.status == "failed"} == set()
    net.run(DETECTION_S)
    assert {node.name for node in net.members() if node.status == "failed"} == {"n1"}
    assert {node.name for node in net.members() if node.votes} == {"n0", "n1", "n2"}
    net.restart("n1")
    assert {node.status for node in net.members()} == {"alive"}


def test_what_is_no_reply_is_counted_and_passed_over() -> None:
    net, _ = network()
    port = net.port("n0")
    port.receive(ANSWER._replace(data=b"rubbish"))
    assert port.listen(1.0) is None
    assert port.strange == 1


def test_nothing_is_left_after_everything_was_cleared() -> None:
    net, electorate = network()
    net.pause("n1")
    operation(net, electorate, "E0", "n0", seed=1).begin(local=m.Register())
    net.run(0.05)
    net.clear()
    net.resume("n1")
    before = net.tick
    net.run(10.0)
    assert net.tick == before


def test_without_any_voter_nobody_answers() -> None:
    net = SimNet(booth.answer)
    net.add("n0")
    with pytest.raises(NoQuorum):
        conductor(net, "n0").learn_electorate(timeout_s=5)
