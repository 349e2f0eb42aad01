"""Changes of the electorate from the first promise to the last record, on a network in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from itertools import count

import pytest

from polity_cli.conduct import Conductor
from polity_cli.core import change, change_state
from polity_cli.core import messages as m
from polity_cli.core.ballot import ZERO, Ballot
from polity_cli.core.change_state import Verdict
from polity_cli.core.electorate import Electorate, Enrolled, Roll
from polity_cli.core.operation import Order, Outcome, Purpose
from polity_cli.core.operation import Verdict as Ended
from polity_cli.core.quorum import QuorumPercentage, QuorumRule, SimpleMajority
from polity_cli.core.tenure import VACANT, Tenure
from polity_cli.edges import wire
from polity_cli.errors import OutcomeUnknown, SerfUnreachable, TwoPolities
from tests.fake_network import FakeNetwork, SeededDraws, node_names, record_of, voter_id

ROLE = "leader"
TIMEOUT_S = 60.0
_claims = SeededDraws(0)
_seeds = count(1000)


class Died(Exception):
    """The process that did it has ended."""


def polity(voters: int, nodes: int, *, seed: int = 1) -> tuple[FakeNetwork, Electorate]:
    """So many nodes, of which the first are the voters of a founded polity."""
    network = FakeNetwork(node_names(nodes), seed=seed)
    record = record_of(network, node_names(nodes)[:voters])
    network.enter(record, *node_names(nodes)[:voters])
    return network, record


def roll(*numbers: int, rule: QuorumRule = SimpleMajority) -> Roll:
    return Roll(tuple(sorted(Enrolled(voter_id(n), f"n{n}") for n in numbers)), rule)


def conductor(network: FakeNetwork, seed: int = 1) -> Conductor:
    return Conductor(network, clock=network.clock, draws=SeededDraws(seed))


def alter(
    network: FakeNetwork,
    record: Electorate,
    target: Roll | None,
    *,
    node: str = "n1",
    seed: int = 1,
    timeout_s: float = TIMEOUT_S,
) -> change_state.Outcome:
    return conductor(network, seed).change(record, target, node=node, timeout_s=timeout_s, patient=True)


def ask(network: FakeNetwork, record: Electorate, purpose: Purpose, node: str, role: str = ROLE) -> Outcome:
    order = Order(purpose, role, node, _claims.id(), patient=True)
    return conductor(network, next(_seeds)).run(order, record, local=None, timeout_s=TIMEOUT_S)


def holds(outcome: Outcome) -> tuple[str | None, int]:
    assert outcome.tenure is not None, outcome
    return outcome.tenure.holder, outcome.tenure.term


def die_after(network: FakeNetwork, messages: int) -> None:
    """Let whoever asks die once this many messages are out."""
    left = messages

    def on_ask(message: m.Query) -> None:
        nonlocal left
        if left == 0:
            network.on_ask = lambda message: None
            raise Died
        left -= 1

    network.on_ask = on_ask


GROW, SHRINK, MOVE = (3, (1, 2, 3, 4, 5)), (5, (1, 2, 3)), (3, (4, 5, 6))


@pytest.mark.parametrize(("before", "after"), [GROW, SHRINK, MOVE, (3, (1, 2, 3, 4)), (3, (2, 3, 4))])
def test_the_new_voters_alone_know_all_that_was_decided(before: int, after: tuple[int, ...]) -> None:
    network, record = polity(before, 6)
    assert ask(network, record, Purpose.ELECT, "n1").verdict is Ended.WON
    assert ask(network, record, Purpose.ELECT, "n2", "gone").verdict is Ended.WON
    assert ask(network, record, Purpose.RECALL, "n2", "gone").verdict is Ended.RECALLED
    outcome = alter(network, record, roll(*after))
    assert (outcome.verdict, outcome.electorate.epoch) == (Verdict.CHANGED, 3)
    assert outcome.electorate.rolls == (roll(*after),)
    assert sorted(outcome.carried) == ["gone", ROLE]
    network.kill(*[f"n{n}" for n in range(1, 7) if n not in after])
    asker = f"n{after[0]}"
    assert holds(ask(network, record, Purpose.QUERY, asker)) == ("n1", 1)
    assert holds(ask(network, outcome.electorate, Purpose.ELECT, asker, "gone")) == (asker, 3)


def test_the_old_voters_alone_decide_nothing_any_more() -> None:
    network, record = polity(3, 6)
    alter(network, record, roll(4, 5, 6))
    network.kill("n4", "n5", "n6")
    order = Order(Purpose.ELECT, ROLE, "n1", _claims.id())
    ended = conductor(network).run(order, record, local=None, timeout_s=5.0)
    assert ended.verdict in (Ended.NO_QUORUM, Ended.UNKNOWN)
    assert all(network.voters[n].me().epoch == 3 for n in ("n1", "n2", "n3"))


def kinds(network: FakeNetwork) -> dict[str, int]:
    """How many messages of each kind went out."""
    return Counter(type(message).__name__ for message in network.sent)


def test_a_change_of_a_hundred_voters_takes_two_messages_for_each_record() -> None:
    network, record = polity(100, 100)
    assert ask(network, record, Purpose.ELECT, "n1").verdict is Ended.WON
    network.sent.clear()
    outcome = alter(network, record, roll(*range(1, 100)))
    assert (outcome.verdict, len(outcome.electorate.voters)) == (Verdict.CHANGED, 99)
    assert (kinds(network)["Delta"], kinds(network)["Offer"]) == (4, 0)
    assert holds(ask(network, outcome.electorate, Purpose.QUERY, "n2")) == ("n1", 1)


def test_those_that_hold_nothing_to_make_the_record_of_are_given_its_pages_once() -> None:
    network, record = polity(60, 64)
    outcome = alter(network, record, roll(*range(1, 65)))
    assert (outcome.verdict, outcome.electorate.current.n) == (Verdict.CHANGED, 64)
    assert all(network.voters[f"n{n}"].me().epoch == 3 for n in range(1, 65))
    pages = len(wire.pages(wire.encode_record(record.joint_with(roll(*range(1, 65))))))
    offers = [message for message in network.sent if isinstance(message, m.Offer)]
    assert pages > 1
    assert len(offers) == pages


@pytest.mark.parametrize("node", ["n1", "n64"])
def test_many_voters_that_are_behind_are_given_the_record_once(node: str) -> None:
    network, record = polity(64, 64)
    newer = record._replace(epoch=3)
    network.enter(newer, *node_names(20))
    outcome = ask(network, newer, Purpose.ELECT, node)
    assert outcome.verdict is Ended.WON
    pages = len(wire.pages(wire.encode_record(newer)))
    assert kinds(network)["Offer"] == pages > 1


def test_another_quorum_rule_is_a_change_too() -> None:
    network, record = polity(5, 5)
    stricter = QuorumPercentage(0.7, 4)
    outcome = alter(network, record, roll(1, 2, 3, 4, 5, rule=stricter))
    assert outcome.electorate.current == roll(1, 2, 3, 4, 5, rule=stricter)
    assert ask(network, outcome.electorate, Purpose.ELECT, "n1").required == 4


@pytest.mark.parametrize("wanted", ["nothing", "what is so already"])
def test_that_there_is_nothing_to_do_is_told_by_a_quorum_and_changes_nothing(wanted: str) -> None:
    network, record = polity(3, 3)
    target = None if wanted == "nothing" else record.current
    assert alter(network, record, target).verdict is Verdict.NOTHING
    assert all(isinstance(message, m.Read) for message in network.sent)
    assert network.sent
    network.down.update({"n2", "n3"})
    assert alter(network, record, target, timeout_s=3.0).verdict is Verdict.NO_QUORUM


def test_whoever_missed_a_change_does_not_take_its_own_memory_for_the_electorate() -> None:
    network, record = polity(4, 4)
    network.down.add("n4")
    assert alter(network, record, roll(1, 2, 3)).verdict is Verdict.CHANGED
    network.down = {"n1", "n2", "n3"}
    alone = alter(network, record, record.current, node="n4", timeout_s=3.0)
    assert alone.verdict is Verdict.NO_QUORUM
    network.down.clear()
    assert alter(network, record, record.current, node="n4").verdict is Verdict.OVERTAKEN


def test_a_record_accepted_somewhere_is_carried_through_by_whoever_wants_nothing() -> None:
    network, record = polity(3, 4)
    die_after(network, 3)  # promises, the record handed out, the acceptance
    with pytest.raises(Died):
        alter(network, record, roll(1, 2, 3, 4))
    assert all(ledger.me().epoch < 2 for ledger in network.voters.values())
    outcome = alter(network, record, None, node="n2", seed=2)
    assert (outcome.verdict, outcome.electorate.rolls) == (Verdict.CHANGED, (roll(1, 2, 3, 4),))


def test_a_last_record_that_nobody_is_known_to_have_entered_is_not_in_force() -> None:
    network, record = polity(3, 6)

    def cut(message: m.Query) -> None:
        if isinstance(message, m.Accept) and message.epoch == 2 and message.role == "":
            network.tamper = lambda node, data: (
                [(node, data)] if isinstance(wire.decode_reply(data), m.State) else []
            )

    network.on_ask = cut
    outcome = alter(network, record, roll(4, 5, 6), timeout_s=15.0)
    assert (outcome.verdict, outcome.electorate.epoch) == (Verdict.UNFINISHED, 3)
    assert outcome.may_take_effect
    network.tamper = lambda node, data: [(node, data)]
    network.on_ask = lambda message: None
    assert alter(network, outcome.electorate, None, node="n6").verdict is Verdict.NOTHING
    network.kill("n1", "n2", "n3")
    assert ask(network, outcome.electorate, Purpose.ELECT, "n4").verdict is Ended.WON


def test_a_late_copy_of_the_acceptance_does_not_make_a_change_look_overtaken() -> None:
    network, record = polity(3, 4)
    accepts: list[bytes] = []

    def on_ask(message: m.Query) -> None:
        if isinstance(message, m.Accept) and message.epoch == 1:
            accepts.append(wire.encode(message))
        elif isinstance(message, m.ListRoles) and accepts:
            # Voters that have entered the joint record are asked once more to accept it.
            for node in ("n1", "n2", "n3"):
                network._deliver(node, accepts[-1])

    network.on_ask = on_ask
    assert alter(network, record, roll(1, 2, 3, 4)).verdict is Verdict.CHANGED


def test_a_voter_shows_by_a_refusal_too_that_it_has_entered_the_record() -> None:
    network, record = polity(3, 3)
    stricter = roll(1, 2, 3, rule=QuorumPercentage(0.6, 3))
    network.tamper = lambda node, data: (
        [(node, data)] if not isinstance(wire.decode_reply(data), m.Holding) or offered else []
    )
    offered: list[m.Query] = []

    def on_ask(message: m.Query) -> None:
        if isinstance(message, m.Offer) and not message.chosen:
            offered.append(message)
        if isinstance(message, m.Offer) and message.chosen:
            offered.clear()  # what is told of entering is lost, but for the refusals below
            joint = record.joint_with(stricter)
            for node in network.voters:
                me = network.voters[node].me()
                late = m.Refusal(
                    message.attempt, me.voter, me.polity, joint.epoch, message.digest, m.OLD_EPOCH, me.serial
                )
                network.send_answer(node, late)

    network.on_ask = on_ask
    outcome = alter(network, record, stricter, timeout_s=20.0)
    assert outcome.electorate.epoch >= 2
    assert outcome.verdict is not Verdict.OVERTAKEN


@pytest.mark.parametrize(("asked", "error"), [(m.Prepare, SerfUnreachable), (m.Offer, OutcomeUnknown)])
def test_an_agent_that_fails_in_a_change_leaves_a_doubt_only_once_something_was_proposed(
    asked: type[m.Message], error: type[Exception]
) -> None:
    network, record = polity(3, 4)

    def on_ask(message: m.Query) -> None:
        if isinstance(message, asked) and (not isinstance(message, m.Offer) or message.chosen):
            raise SerfUnreachable("the agent went away")

    network.on_ask = on_ask
    with pytest.raises(error):
        alter(network, record, roll(1, 2, 3, 4))


@pytest.mark.parametrize(("before", "after"), [GROW, SHRINK, MOVE])
def test_whoever_dies_at_any_step_leaves_a_change_that_another_node_finishes(
    before: int, after: tuple[int, ...]
) -> None:
    ends = set()
    for messages in range(60):
        network, record = polity(before, 6)
        ask(network, record, Purpose.ELECT, "n1")
        die_after(network, messages)
        try:
            alter(network, record, roll(*after))
        except Died:
            pass
        else:
            break
        # Elections go on, in whichever epoch this is.
        assert holds(ask(network, record, Purpose.QUERY, "n2")) == ("n1", 1)
        assert ask(network, record, Purpose.ELECT, "n3", "other").verdict is Ended.WON
        known = conductor(network).learn_electorate(timeout_s=TIMEOUT_S)
        assert known is not None
        outcome = alter(network, known, None if known.is_joint else roll(*after), node="n2", seed=2)
        if outcome.verdict is Verdict.OVERTAKEN:
            known = conductor(network).learn_electorate(timeout_s=TIMEOUT_S)
            assert known is not None
            outcome = alter(network, known, None if known.is_joint else roll(*after), node="n2", seed=3)
        ends.add((known.epoch, outcome.verdict))
        newest = max(ledger.me().epoch for ledger in network.voters.values())
        assert newest == 3
        network.kill(*[f"n{n}" for n in range(1, 7) if n not in after])
        final = Electorate(record.polity, 3, (roll(*after),))
        asker = f"n{after[-1]}"
        assert holds(ask(network, final, Purpose.QUERY, asker)) == ("n1", 1)
        assert holds(ask(network, final, Purpose.QUERY, asker, "other")) == ("n3", 1)
    else:
        raise AssertionError("it never came to its end")
    assert {epoch for epoch, _ in ends} == {1, 2}, ends


@pytest.mark.parametrize("seed", range(12))
def test_two_changes_at_once_are_made_one_after_the_other(seed: int) -> None:
    network, record = polity(3, 6, seed=seed)
    network.loss, network.doubling, network.lateness, network.late_by_s = 0.1, 0.1, 0.2, 1.0
    ask(network, record, Purpose.ELECT, "n1")
    targets = [roll(1, 2, 3, 4), roll(4, 5, 6)]
    begun = change.begin(
        record, targets[1], node="n2", alive=None, now_s=0.0, draws=SeededDraws(99), codec=wire
    )
    stray = begun.send  # a rival's prepare that arrives again and again
    asked = 0

    def rival(message: m.Query) -> None:
        nonlocal asked
        asked += 1
        if asked % 5 == 0 and asked < 40:
            for ledger in stray:
                for node in ("n1", "n2", "n3"):
                    network._deliver(node, wire.encode(ledger))

    network.on_ask = rival
    for at, target in enumerate(targets):
        known = conductor(network, seed).learn_electorate(timeout_s=TIMEOUT_S)
        assert known is not None
        outcome = alter(network, known, target, seed=100 * seed + at, node=f"n{at + 1}")
        while outcome.verdict is not Verdict.CHANGED or outcome.electorate.rolls != (target,):
            outcome = alter(network, outcome.electorate, target, seed=100 * seed + at + 50)
    network.loss = network.lateness = 0.0
    network.kill("n1", "n2", "n3")
    assert holds(ask(network, outcome.electorate, Purpose.QUERY, "n4")) == ("n1", 1)


def test_a_record_accepted_somewhere_is_carried_through_before_ones_own() -> None:
    network, record = polity(3, 6)
    # The first coordinator dies when one voter alone has accepted its record.
    heard = 0

    def on_ask(message: m.Query) -> None:
        nonlocal heard
        if isinstance(message, m.Accept):
            network.down.update({"n2", "n3"})
            heard += 1
        elif heard:
            raise Died

    network.on_ask = on_ask
    with pytest.raises(Died):
        alter(network, record, roll(1, 2, 3, 4))
    network.on_ask = lambda message: None
    network.down.clear()
    outcome = alter(network, record, roll(4, 5, 6), node="n2", seed=2)
    assert (outcome.verdict, outcome.electorate.rolls) == (Verdict.CHANGED, (roll(1, 2, 3, 4),))


def test_without_a_quorum_of_the_new_voters_a_change_stays_joint_and_elections_stop() -> None:
    network, record = polity(3, 6)
    network.down.update({"n5", "n6"})
    outcome = alter(network, record, roll(4, 5, 6), timeout_s=10.0)
    assert (outcome.verdict, outcome.electorate.is_joint) == (Verdict.UNFINISHED, True)
    assert set(outcome.silent) >= {"n5", "n6"}
    ended = conductor(network).run(
        Order(Purpose.ELECT, ROLE, "n1", _claims.id()), record, local=None, timeout_s=5.0
    )
    assert ended.verdict in (Ended.NO_QUORUM, Ended.UNKNOWN)
    network.down.clear()
    assert alter(network, outcome.electorate, None, node="n6").verdict is Verdict.CHANGED


@pytest.mark.parametrize(("asked", "verdict"), [(m.Prepare, Verdict.NO_QUORUM), (m.Accept, Verdict.UNKNOWN)])
def test_a_change_that_loses_its_quorum_says_whether_it_may_take_effect(
    asked: type[m.Message], verdict: Verdict
) -> None:
    network, record = polity(3, 4)

    def on_ask(message: m.Query) -> None:
        if isinstance(message, asked):
            network.down.update({"n2", "n3"})

    network.on_ask = on_ask
    assert alter(network, record, roll(1, 2, 3, 4), timeout_s=8.0).verdict is verdict


def test_an_impatient_change_ends_when_serf_shows_too_few_alive() -> None:
    network, record = polity(3, 4)
    network.kill("n2", "n3")
    outcome = conductor(network).change(record, roll(1, 2, 3, 4), node="n1", timeout_s=TIMEOUT_S)
    assert (outcome.verdict, outcome.silent) == (Verdict.NO_QUORUM, ("n2", "n3"))
    assert network.clock() < 5


def test_a_voter_of_another_polity_stops_a_change() -> None:
    network, record = polity(3, 6)
    network.enter(record_of(network, ["n4", "n5", "n6"], polity=b"polity-2"), "n4", "n5", "n6")
    with pytest.raises(TwoPolities):
        alter(network, record, roll(1, 2, 3, 4))


def test_a_change_that_is_made_says_so_though_voters_of_another_polity_answer_later() -> None:
    network, record = polity(3, 6)
    others = ("n4", "n5", "n6")
    network.enter(record_of(network, others, polity=b"polity-2"), *others)

    def hold_back(node: str, data: bytes) -> list[tuple[str, bytes]]:
        if node not in others:
            return [(node, data)]
        network.send_answer(node, data, after_s=0.4)
        return []

    network.tamper = hold_back
    with pytest.raises(TwoPolities) as caught:
        alter(network, record, record.current._replace(rule=QuorumPercentage(0.6, 1)))
    assert network.voters["n1"].me().epoch == 3
    assert caught.value.hint.startswith("changed where this was asked, all the same: electorate 3; part the")


def test_more_roles_than_one_answer_can_list_are_all_carried_over() -> None:
    network, record = polity(3, 6)
    roles = [f"{'long name ' * 8}{number:03}" for number in range(40)]
    for role in roles:
        assert ask(network, record, Purpose.ELECT, "n1", role).verdict is Ended.WON
    began_s = network.clock()
    outcome = alter(network, record, roll(4, 5, 6), timeout_s=600.0)
    assert (outcome.verdict, sorted(outcome.carried)) == (Verdict.CHANGED, roles)
    assert network.clock() - began_s < 3.0, "several roles are carried over at once"
    network.kill("n1", "n2", "n3")
    for role in roles[::7]:
        assert holds(ask(network, outcome.electorate, Purpose.QUERY, "n4", role)) == ("n1", 1)


@pytest.mark.parametrize("seed", range(6))
def test_many_roles_are_carried_over_although_messages_are_lost(seed: int) -> None:
    network, record = polity(3, 6, seed=seed)
    roles = [f"role {number:02}" for number in range(30)]
    for role in roles:
        assert ask(network, record, Purpose.ELECT, "n1", role).verdict is Ended.WON
    network.loss, network.doubling, network.lateness = 0.2, 0.1, 0.2
    outcome = alter(network, record, roll(4, 5, 6), timeout_s=600.0, seed=seed)
    assert (outcome.verdict, sorted(outcome.carried)) == (Verdict.CHANGED, roles)
    network.loss = network.lateness = 0.0
    network.kill("n1", "n2", "n3")
    for role in roles:
        assert holds(ask(network, outcome.electorate, Purpose.QUERY, "n4", role)) == ("n1", 1)


# What a voter takes.


def accept_of(network: FakeNetwork, record: Electorate, proposed: Electorate) -> m.Reply:
    """What n1 answers when it holds `proposed` and is asked to accept it as the next record."""
    data = wire.encode_record(proposed)
    answers: list[m.Reply] = []

    def tamper(node: str, said: bytes) -> Iterable[tuple[str, bytes]]:
        if node == "n1":
            answers.append(wire.decode_reply(said))
        return []

    network.tamper = tamper
    for at, page in enumerate(pages := wire.pages(data)):
        network.ask(m.Offer(b"attempt!", wire.digest(data), at, len(pages), page, False), again=False)
    ballot = Ballot(9, b"attempt!")
    tenure = Tenure(record.epoch + 1, wire.digest(data).hex(), b"claim-01")
    network.ask(m.Accept(b"attempt!", record.polity, record.epoch, "", ballot, tenure), again=False)
    return answers[-1]


@pytest.mark.parametrize(
    "bend",
    [
        lambda r: r.joint_with(roll(4, 5, 6))._replace(rolls=(roll(1, 2), roll(4, 5, 6))),
        lambda r: r._replace(epoch=3),
        lambda r: r._replace(epoch=3, rolls=(roll(4, 5, 6),)),
        lambda r: r.joint_with(roll(4, 5, 6))._replace(epoch=4),
        lambda r: r.joint_with(roll(4, 5, 6))._replace(polity=b"polity-2"),
    ],
)
def test_a_voter_accepts_no_record_that_does_not_follow_its_own(
    bend: Callable[[Electorate], Electorate],
) -> None:
    lax = QuorumPercentage(0.5, 1)
    network, record = polity(3, 6)
    record = record._replace(rolls=(roll(1, 2, 3, rule=lax),))
    network.enter(record._replace(epoch=5))
    record = record._replace(epoch=5)
    good = accept_of(network, record, record.joint_with(roll(4, 5, 6)))
    assert isinstance(good, m.State)
    assert good.accepted.round == 9
    bent = bend(record._replace(epoch=1))
    bent = bent._replace(epoch=bent.epoch + 4)
    if bent.rolls[0] == roll(1, 2):
        bent = bent._replace(rolls=(roll(1, 2, rule=lax), bent.rolls[1]))
    refused = accept_of(network, record, bent)
    assert isinstance(refused, m.Refusal)
    assert refused.reason in (m.NO_RECORD, m.UNUSABLE)


def test_nobody_votes_in_the_fast_round_of_a_joint_epoch() -> None:
    network, record = polity(3, 6)
    joint = record.joint_with(roll(4, 5, 6))
    network.enter(joint)
    stand = m.Stand(
        b"attempt!",
        record.polity,
        2,
        ROLE,
        ZERO,
        VACANT,
        VACANT.filled_by("n1", b"claim-01"),
        Ballot(2, b"attempt!"),
    )
    said: list[m.Reply] = []
    network.tamper = lambda node, data: said.append(wire.decode_reply(data)) or []  # type: ignore[func-returns-value]
    network.ask(stand, again=False)
    assert len(said) == 6
    assert all(isinstance(reply, m.Refusal) and reply.reason == m.UNUSABLE for reply in said)
