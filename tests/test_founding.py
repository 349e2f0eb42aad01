"""Founding a polity: the pure machine, its driver on a network in memory, and founders that race."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest

from polity_cli import booth
from polity_cli.asking import Sent, Waiting
from polity_cli.conduct import Conductor
from polity_cli.core import founding
from polity_cli.core import messages as m
from polity_cli.core.ballot import Ballot
from polity_cli.core.electorate import Electorate, Enrolled, founding_record
from polity_cli.core.founding import Founding, Phase, Verdict
from polity_cli.core.quorum import QuorumPercentage, SimpleMajority
from polity_cli.core.tenure import ELECTORATE, Tenure
from polity_cli.edges import wire
from polity_cli.edges.memory_ledger import MemoryLedger
from polity_cli.errors import BadInput, FoundingRefused
from tests.fake_network import FakeNetwork, SeededDraws, node_names, record_of, voter_id

MINE = b"polity-1"
OTHER = b"polity-2"
TIMEOUT_S = 15.0
SLACK_S = 0.25
ONE_IS_ENOUGH = QuorumPercentage(0.5, 1)


def found(
    network: FakeNetwork,
    nodes: Iterable[str] = (),
    *,
    polity: bytes = MINE,
    timeout_s: float = TIMEOUT_S,
    told: list[object] | None = None,
    seed: int = 1,
    stop_at_s: float | None = None,
) -> founding.Outcome:
    """Found a polity on a network with its nodes, or all of them."""
    return Conductor(
        network,
        watch=(lambda event: None) if told is None else told.append,
        should_stop=lambda: stop_at_s is not None and network.clock() >= stop_at_s,
        clock=network.clock,
        draws=SeededDraws(seed),
    ).found(list(nodes) or list(network.voters), polity, SimpleMajority, timeout_s=timeout_s)


def entered(network: FakeNetwork) -> set[bytes]:
    """The polities that voters have entered; NO_POLITY for those that have entered none."""
    return {ledger.me().polity for ledger in network.voters.values()}


def accept(network: FakeNetwork, record: Electorate, nodes: Iterable[str], *, round_: int = 1) -> bytes:
    """Let voters accept a record, as an earlier founding would, and enter nothing; returns its digest."""
    data = wire.encode_record(record)
    digest = wire.digest(data)
    attempt = b"earlier!"
    for node in nodes:
        ledger = network.voters[node]
        for at, page in enumerate(pages := wire.pages(data)):
            booth.handle(ledger, m.Offer(attempt, digest, at, len(pages), page, False))
        value = Tenure(1, digest.hex(), record.polity)
        ballot = Ballot(round_, attempt)
        reply = booth.handle(ledger, m.Accept(attempt, m.NO_POLITY, 0, ELECTORATE, ballot, value))
        assert isinstance(reply, m.State)
        assert reply.accepted == ballot
    return digest


# A founding that nobody disturbs.


@pytest.mark.parametrize("size", [3, 5, 100])
def test_where_everybody_answers_the_polity_is_founded_and_everybody_enters_it(size: int) -> None:
    network = FakeNetwork(node_names(size))
    outcome = found(network)
    assert (outcome.verdict, outcome.polity) == (Verdict.FOUNDED, MINE)
    assert outcome.record == record_of(network)
    digest = wire.digest(wire.encode_record(outcome.record))
    assert {ledger.me()[1:4] for ledger in network.voters.values()} == {(MINE, 1, digest)}
    offers = {message.page for message in network.sent if isinstance(message, m.Offer)}
    assert (len(offers) > 1) == (size == 100), "a large record goes out in pages"


def test_an_undisturbed_founding_is_four_questions() -> None:
    network = FakeNetwork(node_names(3))
    found(network)
    kinds = [type(message) for message in network.sent]
    assert kinds == [m.Prepare, m.Offer, m.Accept, m.Offer]
    assert [message.chosen for message in network.sent if isinstance(message, m.Offer)] == [False, True]


@pytest.mark.parametrize("seed", range(10))
def test_a_network_that_loses_and_doubles_only_costs_time(seed: int) -> None:
    network = FakeNetwork(node_names(7), seed=seed)
    network.loss, network.doubling, network.lateness = 0.2, 0.2, 0.2
    outcome = found(network, timeout_s=120.0, seed=seed)
    assert outcome.verdict is Verdict.FOUNDED
    assert outcome.record == record_of(network)


def test_a_voter_that_misses_the_end_learns_of_it_later_and_the_polity_is_founded() -> None:
    network = FakeNetwork(node_names(3))

    def cut(message: m.Query) -> None:
        if isinstance(message, m.Offer) and message.chosen:
            network.down.add("n3")

    network.on_ask = cut
    assert found(network).verdict is Verdict.FOUNDED
    assert entered(network) == {MINE, m.NO_POLITY}
    network.down.clear()
    network.on_ask = lambda message: None
    again = found(network, polity=OTHER)
    assert (again.verdict, again.polity) == (Verdict.ALREADY, MINE)


def test_a_polity_that_is_founded_already_is_named() -> None:
    network = FakeNetwork(node_names(3))
    record = found(network).record
    assert record is not None
    network.sent.clear()
    again = found(network, polity=OTHER)
    assert (again.verdict, again.polity) == (Verdict.ALREADY, MINE)
    assert again.digest == wire.digest(wire.encode_record(record))
    assert again.record is None
    assert len(network.sent) == 1
    assert entered(network) == {MINE}


# Nothing is founded without everybody.


def test_who_does_not_answer_is_named_and_nothing_is_founded() -> None:
    network = FakeNetwork(node_names(5))
    network.down.update({"n2", "n4"})
    told: list[object] = []
    outcome = found(network, timeout_s=3.0, told=told)
    assert (outcome.verdict, outcome.missing) == (Verdict.MISSING, ("n2", "n4"))
    assert outcome.mine == tuple(node_names(5))
    assert network.clock() <= 3.0 + SLACK_S
    assert all(ledger.register(ELECTORATE).accepted.round == 0 for ledger in network.voters.values())
    waiting = next(event for event in told if isinstance(event, Waiting))
    assert (waiting.have, waiting.need, waiting.nodes) == (3, 5, ("n2", "n4"))
    assert [event.again for event in told if isinstance(event, Sent)][:3] == [False, True, True]
    network.down.clear()
    assert found(network).verdict is Verdict.FOUNDED


@pytest.mark.parametrize("stopped", [False, True])
def test_acceptances_that_stay_out_leave_it_unknown_until_it_is_founded_again(stopped: bool) -> None:
    network = FakeNetwork(node_names(3))

    def swallow(message: m.Query) -> None:
        if isinstance(message, m.Accept):
            network.tamper = lambda node, data: [] if node == "n3" else [(node, data)]

    network.on_ask = swallow
    outcome = found(network, timeout_s=3.0, stop_at_s=1.0 if stopped else None)
    assert (outcome.verdict, outcome.missing) == (Verdict.UNKNOWN, ("n3",))
    assert entered(network) == {m.NO_POLITY}
    network.on_ask, network.tamper = lambda message: None, lambda node, data: [(node, data)]
    again = found(network, polity=OTHER, seed=2)
    assert (again.verdict, again.polity) == (Verdict.FOUNDED, MINE), (
        "it was founded, so it is carried through"
    )


def test_two_nodes_with_one_voter_id_found_nothing() -> None:
    network = FakeNetwork(node_names(4))
    network.voters["n4"] = MemoryLedger(voter_id(2))
    outcome = found(network)
    assert (outcome.verdict, outcome.missing) == (Verdict.CLONED, ("n2", "n4"))
    assert not any(isinstance(message, m.Offer | m.Accept) for message in network.sent)


def test_answers_of_nodes_that_were_not_called_count_for_nothing() -> None:
    network = FakeNetwork([*node_names(3), "stranger"])
    outcome = found(network, node_names(3))
    assert outcome.record is not None
    assert [e.node for e in outcome.record.voters] == node_names(3)
    assert network.voters["stranger"].me().polity == m.NO_POLITY


def test_a_rule_that_does_not_suit_so_many_is_bad_input_before_anything_is_asked() -> None:
    network = FakeNetwork(node_names(2))
    with pytest.raises(BadInput):
        found(network)
    assert network.sent == []


# What an earlier founding left behind.


def test_a_record_that_all_its_members_accepted_is_carried_through() -> None:
    network = FakeNetwork(node_names(3))
    earlier = record_of(network, polity=OTHER)
    accept(network, earlier, node_names(3))
    outcome = found(network)
    assert (outcome.verdict, outcome.polity, outcome.record) == (Verdict.FOUNDED, OTHER, earlier)
    assert entered(network) == {OTHER}


def test_a_large_record_of_an_earlier_founding_is_fetched_in_pages() -> None:
    network = FakeNetwork(node_names(100))
    earlier = record_of(network, polity=OTHER)
    accept(network, earlier, node_names(100))
    outcome = found(network, timeout_s=60.0)
    assert (outcome.verdict, outcome.record) == (Verdict.FOUNDED, earlier)
    fetched = {message.page for message in network.sent if isinstance(message, m.Fetch)}
    assert fetched == set(range(len(wire.pages(wire.encode_record(earlier)))))


def test_a_record_that_one_of_the_roll_call_never_accepted_can_be_written_over() -> None:
    network = FakeNetwork(node_names(3))
    accept(network, record_of(network, polity=OTHER), ["n1", "n2"])
    outcome = found(network)
    assert (outcome.verdict, outcome.polity) == (Verdict.FOUNDED, MINE)
    assert entered(network) == {MINE}


def test_of_two_earlier_records_the_one_that_may_be_founded_is_carried_through() -> None:
    network = FakeNetwork(node_names(3))
    accept(network, record_of(network, polity=OTHER), ["n1", "n2"])
    later = record_of(network, polity=b"polity-3")
    accept(network, later, ["n1", "n2", "n3"], round_=2)
    assert found(network).record == later


def test_an_earlier_record_with_other_voters_that_may_be_founded_stops_it_with_both_lists() -> None:
    network = FakeNetwork([*node_names(3), "m1", "m2"])
    earlier = record_of(network, ["n3", "m1", "m2"], polity=OTHER)
    accept(network, earlier, ["n3", "m1", "m2"])
    outcome = found(network, node_names(3))
    assert outcome.verdict is Verdict.CLASH
    assert outcome.mine == ("n1", "n2", "n3")
    assert outcome.other is not None
    assert {e.node for e in outcome.other.voters} == {"n3", "m1", "m2"}
    assert not any(isinstance(message, m.Accept) for message in network.sent)


def test_an_earlier_record_with_more_voters_is_not_shrunk_to_ours() -> None:
    network = FakeNetwork(node_names(5))
    accept(network, record_of(network, polity=OTHER), node_names(5))
    assert found(network, node_names(3)).verdict is Verdict.CLASH
    assert (again := found(network)).verdict is Verdict.FOUNDED
    assert again.polity == OTHER, "with all of them it is carried through"


def test_an_earlier_record_with_other_voters_that_cannot_be_founded_any_more_is_written_over() -> None:
    network = FakeNetwork([*node_names(3), "m1"])
    accept(network, record_of(network, ["n2", "n3", "m1"], polity=OTHER), ["n2", "m1"])
    outcome = found(network, node_names(3))
    assert (outcome.verdict, outcome.polity) == (Verdict.FOUNDED, MINE)


def test_two_sets_of_nodes_that_share_none_found_two_polities() -> None:
    networks = [FakeNetwork(node_names(3)), FakeNetwork(["m1", "m2", "m3"])]
    assert found(networks[0]).polity == MINE
    assert found(networks[1], polity=OTHER).polity == OTHER
    assert [entered(network) for network in networks] == [{MINE}, {OTHER}]


def test_a_voter_that_accepted_another_record_is_not_carried_off_into_ours() -> None:
    network = FakeNetwork([*node_names(3), "m1", "m2"])
    accept(network, record_of(network, ["m1", "m2"], polity=OTHER, rule=ONE_IS_ENOUGH), ["m1"])
    assert found(network, node_names(3)).verdict is Verdict.FOUNDED
    assert network.voters["m1"].me().polity == m.NO_POLITY


def test_an_earlier_record_that_nobody_here_can_read_is_refused_with_a_hint() -> None:
    network = FakeNetwork(node_names(3))
    earlier = record_of(network, polity=OTHER)
    old_digest = accept(network, earlier, node_names(3))
    future = b"\x94\x02" + wire.encode_record(earlier)[2:]

    def upgrade(node: str, data: bytes) -> list[tuple[str, bytes]]:
        reply = wire.decode_reply(data)
        if isinstance(reply, m.State) and reply.tenure.holder == old_digest.hex():
            reply = reply._replace(tenure=reply.tenure._replace(holder=wire.digest(future).hex()))
        if isinstance(reply, m.Page):
            reply = reply._replace(digest=wire.digest(future), page=0, pages=1, data=future)
        return [(node, wire.encode(reply))]

    network.tamper = upgrade
    with pytest.raises(FoundingRefused, match="version 2") as caught:
        found(network)
    assert caught.value.hint


# The pure machine.

DRAWS = SeededDraws(7)


def begun(size: int = 3) -> Founding:
    return founding.begin(node_names(size), MINE, ONE_IS_ENOUGH, now_s=0.0, draws=DRAWS).founding


def promise(f: Founding, number: int, promised: Ballot | None = None) -> m.State:
    zero = m.Register()
    ballot = f.ballot if promised is None else promised
    return m.State(
        f.attempt,
        voter_id(number),
        m.NO_POLITY,
        0,
        ballot,
        zero.accepted,
        zero.tenure,
        zero.accepted,
        zero.tenure,
    )


def hear(f: Founding, number: int, reply: m.Reply) -> founding.Move:
    return founding.hear(f, f"n{number}", reply, 0.1, DRAWS, wire)


def test_only_the_last_promise_makes_it_offer_the_record() -> None:
    f = begun()
    for number in (1, 2, 2, 1):
        move = hear(f, number, promise(f, number))
        f = move.founding
        assert (f.phase, move.send) == (Phase.ROLL_CALL, ())
    move = hear(f, 3, promise(f, 3))
    assert move.founding.phase is Phase.OFFER
    assert [type(message) for message in move.send] == [m.Offer]


def test_replies_of_another_attempt_or_of_nodes_not_called_change_nothing() -> None:
    f = begun()
    assert hear(f, 1, promise(f, 1)._replace(attempt=b"another!")).founding is f
    assert hear(f, 9, promise(f, 9)).founding is f
    assert hear(f, 1, promise(f, 1, Ballot(0, b""))).founding.done_by == frozenset(), "that is no promise"
    assert hear(f, 1, m.Holding(f.attempt, voter_id(1), b"", 0, b"", True)).founding is f


def test_a_higher_promise_makes_it_wait_and_then_outbid_with_a_new_attempt() -> None:
    f = begun()
    high = Ballot(41, b"somebody")
    yielded = hear(f, 1, promise(f, 1, high)).founding
    assert yielded.phase is Phase.YIELD
    low_s, high_s = founding.YIELD_S
    assert 0.1 + low_s <= yielded.wake_at_s <= 0.1 + high_s
    assert hear(yielded, 2, promise(yielded, 2)).founding is yielded
    move = founding.wake(yielded, yielded.wake_at_s, DRAWS)
    assert move.founding.phase is Phase.ROLL_CALL
    assert move.founding.ballot > high
    assert move.founding.attempt != f.attempt
    assert founding.give_up(yielded).founding.outcome == founding.Outcome(Verdict.CLASH, f.nodes)


def test_a_voter_that_lost_the_record_before_it_accepted_is_offered_it_again() -> None:
    f = begun()
    for number in (1, 2, 3):
        f = hear(f, number, promise(f, number)).founding
    for number in (1, 2, 3):
        f = hear(f, number, m.Holding(f.attempt, voter_id(number), b"", 0, b"", True)).founding
    assert f.phase is Phase.ACCEPT
    move = hear(f, 2, m.Refusal(f.attempt, voter_id(2), b"", 0, b"", m.NO_RECORD))
    assert move.founding.phase is Phase.OFFER
    assert move.founding.waiting_for == ("n1", "n2", "n3")


def test_a_founding_that_is_over_hears_and_does_nothing_more() -> None:
    over = founding.give_up(begun()).founding
    assert over.outcome is not None
    assert over.outcome.verdict is Verdict.MISSING
    assert hear(over, 1, promise(over, 1)) == founding.Move(over)
    assert founding.wake(over, 9.0, DRAWS) == founding.Move(over)
    assert founding.give_up(over) == founding.Move(over)


# Two founders at once.


class Race:
    """Founders whose messages and answers are delivered one by one, in an order drawn from a seed.

    Messages may be lost, doubled and overtaken. `chosen` are the records that were accepted by all of
    their members at one ballot, whatever became of them later.
    """

    def __init__(self, seed: int, plans: list[list[str]]) -> None:
        self.random = random.Random(seed)
        self.draws = SeededDraws(seed)
        names = sorted({name for plan in plans for name in plan})
        self.voters = {name: MemoryLedger(voter_id(at)) for at, name in enumerate(names, 1)}
        self.node_of = {ledger.me().voter: name for name, ledger in self.voters.items()}
        self.accepted: dict[tuple[Ballot, str], set[bytes]] = {}
        self.chosen: dict[bytes, Electorate] = {}
        self.founders: list[Founding] = []
        self.underway: list[tuple[int, str, bytes, bool]] = []
        self.now_s = 0.0
        self.loss = self.random.choice([0.0, 0.1, 0.3])
        self.doubling = self.random.choice([0.0, 0.2])
        self.records: dict[str, Electorate] = {}
        for at, plan in enumerate(plans):
            self.founders.append(begun())
            polity = at.to_bytes(8, "big")
            self.move(at, founding.begin(plan, polity, ONE_IS_ENOUGH, now_s=0.0, draws=self.draws))

    def move(self, at: int, move: founding.Move) -> None:
        self.founders[at] = move.founding
        record = move.founding.record
        if record is not None:
            # By its own digest: while an earlier record is learned, the founding's is that one's.
            self.records[wire.digest(wire.encode_record(record)).hex()] = record
        for message in move.send:
            for name in self.voters:
                self.post(at, name, wire.encode(message), True)

    def post(self, at: int, node: str, data: bytes, to_voter: bool) -> None:
        copies = (self.random.random() >= self.loss) * (1 + (self.random.random() < self.doubling))
        self.underway += [(at, node, data, to_voter)] * copies

    def step(self) -> None:
        if self.underway and self.random.random() < 0.97:
            at, node, data, to_voter = self.underway.pop(self.random.randrange(len(self.underway)))
            if to_voter:
                reply = booth.answer(self.voters[node], data)
                assert reply is not None
                self.note(node)
                self.post(at, node, reply, False)
            else:
                f = self.founders[at]
                reply_ = wire.decode_reply(data)
                self.move(at, founding.hear(f, node, reply_, self.now_s, self.draws, wire))
        else:
            at = self.random.randrange(len(self.founders))
            self.now_s = max(self.now_s, self.founders[at].wake_at_s)
            self.move(at, founding.wake(self.founders[at], self.now_s, self.draws))

    def note(self, node: str) -> None:
        """Write down what a voter has accepted, and judge."""
        ledger = self.voters[node]
        register = ledger.register(ELECTORATE)
        if register.tenure.holder is None:
            return
        by = self.accepted.setdefault((register.accepted, register.tenure.holder), set())
        by.add(ledger.me().voter)
        record = self.records[register.tenure.holder]
        if {e.voter for e in record.voters} <= by:
            self.chosen[wire.digest(wire.encode_record(record))] = record
        self.judge()

    def judge(self) -> None:
        taken: set[bytes] = set()
        for record in self.chosen.values():
            members = {e.voter for e in record.voters}
            assert not members & taken, "two polities whose voters overlap are both founded"
            taken |= members
        for ledger in self.voters.values():
            me = ledger.me()
            assert me.polity == m.NO_POLITY or me.digest in self.chosen, "a record was entered unchosen"
        for f in self.founders:
            if f.outcome is not None and f.outcome.verdict is Verdict.FOUNDED:
                assert f.digest in self.chosen, "a founding is called done that is not"

    def run(self, steps: int) -> None:
        for _ in range(steps):
            if all(f.phase is Phase.DONE for f in self.founders):
                break
            self.step()
            self.judge()


OVERLAPS = {
    "the same": [["a", "b", "c"], ["a", "b", "c"]],
    "one more": [["a", "b", "c"], ["a", "b", "c", "d"]],
    "one shared": [["a", "b", "c"], ["c", "d", "e"]],
    "three founders": [["a", "b"], ["b", "c"], ["c", "a"]],
    "apart": [["a", "b"], ["c", "d"]],
}


@pytest.mark.parametrize("plan", OVERLAPS)
def test_of_founders_that_race_never_two_with_common_voters_succeed(plan: str) -> None:
    both = one = 0
    for seed in range(150):
        race = Race(seed, OVERLAPS[plan])
        race.run(1500)
        both += len(race.chosen) >= 2
        one += len(race.chosen) >= 1
    assert one > 60, "a race in which nobody wins shows nothing"
    assert (both > 0) == (plan == "apart")


def test_founders_of_the_same_nodes_agree_in_the_end() -> None:
    for seed in range(60):
        race = Race(seed, OVERLAPS["the same"])
        race.loss = 0.0
        race.run(20_000)
        outcomes = [f.outcome for f in race.founders]
        assert all(o is not None and o.verdict in (Verdict.FOUNDED, Verdict.ALREADY) for o in outcomes), seed
        [polity] = {o.polity for o in outcomes if o is not None}
        assert {ledger.me().polity for ledger in race.voters.values()} <= {polity, m.NO_POLITY}


def test_a_record_of_a_founding_lists_its_voters_in_order_of_their_ids() -> None:
    record = founding_record(MINE, [Enrolled(voter_id(n), f"n{n}") for n in (3, 1, 2)], SimpleMajority)
    assert [e.node for e in record.current.voters] == ["n1", "n2", "n3"]
