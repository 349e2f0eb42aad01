"""Operations from the first question to their outcome, on a network in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy

import pytest

from polity_cli import asking, booth
from polity_cli.asking import Got, Sent, SystemDraws, Waiting, two_polities
from polity_cli.conduct import Conductor
from polity_cli.core import messages as m
from polity_cli.core.ballot import MAX_JUMP, Ballot
from polity_cli.core.electorate import Electorate
from polity_cli.core.operation import Order, Outcome, Purpose, Verdict
from polity_cli.core.quorum import QuorumRule
from polity_cli.core.strangers import Sighting
from polity_cli.core.witness import SET_BACK, Witness
from polity_cli.edges import wire
from polity_cli.edges.memory_ledger import MemoryLedger
from polity_cli.edges.network import Heard
from polity_cli.errors import (
    BadInput,
    NoQuorum,
    OutcomeUnknown,
    SerfTimeout,
    SerfUnreachable,
    TwoPolities,
)
from tests.fake_network import (
    POLITY,
    ROUND_TRIP_S,
    FakeNetwork,
    SeededDraws,
    founded,
    node_names,
    record_of,
    same_disk,
    voter_id,
)

ROLE = "leader"
TIMEOUT_S = 15.0
# The longest wait between two looks at the clock.
SLACK_S = 0.25

Told = list[Sent | Got | Waiting]
Remembered = dict[tuple[str, bytes], int]


def conductor(
    network: FakeNetwork,
    *,
    told: Told | None = None,
    seed: int = 1,
    stop_at_s: float | None = None,
    remembered: Remembered | None = None,
    sighted: Mapping[str, Sighting | None] | None = None,
) -> Conductor:
    return Conductor(
        network,
        watch=(lambda event: None) if told is None else told.append,
        should_stop=lambda: stop_at_s is not None and network.clock() >= stop_at_s,
        clock=network.clock,
        draws=SeededDraws(seed),
        remembered=remembered,
        sighted={node: seen for node, seen in (sighted or {}).items() if seen is not None},
    )


_claims = SeededDraws(0)


def run(
    network: FakeNetwork,
    record: Electorate,
    purpose: Purpose,
    node: str = "n1",
    *,
    told: Told | None = None,
    timeout_s: float = TIMEOUT_S,
    seed: int = 1,
    holder: str | None = None,
    term: int | None = None,
    at_least: int = 0,
    patient: bool = False,
    stop_at_s: float | None = None,
    hint: bool = False,
    by: Conductor | None = None,
) -> Outcome:
    """An operation from `node`; `hint` gives it what the node's own voter remembers."""
    order = Order(purpose, ROLE, node, _claims.id(), holder, term, at_least, patient)
    local = network.voters[node].register(ROLE) if hint else None
    it = by or conductor(network, told=told, seed=seed, stop_at_s=stop_at_s)
    return it.run(order, record, local=local, timeout_s=timeout_s)


def elect(network: FakeNetwork, record: Electorate, node: str = "n1", **options: object) -> Outcome:
    return run(network, record, Purpose.ELECT, node, **options)  # type: ignore[arg-type]


def recall(network: FakeNetwork, record: Electorate, node: str = "n1", **options: object) -> Outcome:
    return run(network, record, Purpose.RECALL, node, **options)  # type: ignore[arg-type]


def who(network: FakeNetwork, record: Electorate, node: str = "n1", **options: object) -> Outcome:
    return run(network, record, Purpose.QUERY, node, **options)  # type: ignore[arg-type]


def holds(outcome: Outcome) -> tuple[str | None, int]:
    assert outcome.tenure is not None
    return outcome.tenure.holder, outcome.tenure.term


# Elections, recalls and questions, and what each comes to.


def test_an_election_is_won_and_everybody_hears_of_it() -> None:
    network, record = founded(5)
    told: Told = []
    won = elect(network, record, told=told, hint=True)
    assert (won.verdict, holds(won), won.required, won.population) == (Verdict.WON, ("n1", 1), 4, 5)
    assert won.round_trips == 1
    [news] = network.news
    assert (news.polity, news.epoch, news.role, news.tenure) == (POLITY, 1, ROLE, won.tenure)
    for ledger in network.voters.values():
        assert ledger.register(ROLE).confirmed == won.tenure
    assert [event.message for event in told if isinstance(event, Sent)][-1] is news


def test_standing_again_is_success_in_the_same_term() -> None:
    network, record = founded(5)
    elect(network, record, "n2")
    again = elect(network, record, "n2")
    assert (again.verdict, holds(again)) == (Verdict.HELD, ("n2", 1))


def test_another_candidate_loses_and_hears_to_whom() -> None:
    network, record = founded(5)
    elect(network, record, "n2")
    lost = elect(network, record, "n3")
    assert (lost.verdict, holds(lost)) == (Verdict.LOST, ("n2", 1))


def test_a_recall_empties_the_role_and_the_next_holder_has_a_greater_term() -> None:
    network, record = founded(5)
    elect(network, record, "n2")
    recalled = recall(network, record, "n3")
    assert (recalled.verdict, recalled.previous_holder, holds(recalled)) == (
        Verdict.RECALLED,
        "n2",
        (None, 2),
    )
    assert len(network.news) == 2
    assert recall(network, record, "n4").verdict is Verdict.VACANT
    assert holds(elect(network, record, "n5")) == ("n5", 3)


def test_a_recall_of_somebody_else_empties_nothing() -> None:
    network, record = founded(5)
    elect(network, record, "n2")
    assert recall(network, record, holder="n3").verdict is Verdict.GUARD
    assert recall(network, record, term=7).verdict is Verdict.GUARD
    assert holds(who(network, record)) == ("n2", 1)
    assert recall(network, record, holder="n2", term=1).verdict is Verdict.RECALLED


def test_a_question_answers_and_changes_nothing() -> None:
    network, record = founded(5)
    assert holds(who(network, record)) == (None, 0)
    elect(network, record, "n4")
    before = [ledger.register(ROLE) for ledger in network.voters.values()]
    answer = who(network, record, "n5")
    assert (answer.verdict, holds(answer)) == (Verdict.ANSWER, ("n4", 1))
    assert [ledger.register(ROLE) for ledger in network.voters.values()] == before


def test_two_of_five_may_be_down_and_three_may_not() -> None:
    network, record = founded(5)
    network.kill("n4", "n5")
    assert elect(network, record).verdict is Verdict.WON
    network.kill("n3")
    for outcome in (who(network, record), elect(network, record, "n2")):
        assert outcome.verdict is Verdict.NO_QUORUM
        assert outcome.silent == ("n3", "n4", "n5")
        assert not outcome.may_take_effect


def test_more_votes_than_the_rule_wants_may_be_wanted() -> None:
    network, record = founded(5)
    network.kill("n5")
    outcome = elect(network, record, at_least=5, timeout_s=4.0)
    assert outcome.verdict in (Verdict.NO_QUORUM, Verdict.UNKNOWN)
    assert outcome.required == 5
    network.down.clear()
    network.status.clear()
    again = elect(network, record, at_least=5)
    assert again.verdict in (Verdict.WON, Verdict.HELD)
    assert holds(again) == ("n1", 1)


@pytest.mark.parametrize("seed", range(25))
def test_loss_doubling_and_late_answers_change_no_answer(seed: int) -> None:
    network, record = founded(5, seed=seed)
    network.loss, network.doubling, network.lateness = 0.2, 0.2, 0.3
    outcomes = [elect(network, record, f"n{i}", timeout_s=60.0, seed=100 * seed + i) for i in (1, 2, 3)]
    assert {outcome.verdict for outcome in outcomes} <= {
        Verdict.WON,
        Verdict.HELD,
        Verdict.LOST,
        Verdict.UNKNOWN,
    }
    assert outcomes[-1].verdict is not Verdict.UNKNOWN
    network.loss = network.doubling = network.lateness = 0.0
    now = who(network, record)
    known = [outcome for outcome in outcomes if outcome.verdict is not Verdict.UNKNOWN]
    assert {outcome.tenure for outcome in known} == {now.tenure}
    assert sum(outcome.verdict is Verdict.WON for outcome in known) <= 1


def test_those_that_watch_hear_what_was_asked_who_answered_and_who_is_waited_for() -> None:
    network, record = founded(5)
    network.down.update({"n3", "n4", "n5"})
    told: Told = []
    who(network, record, told=told, timeout_s=2.0)
    sent = [event for event in told if isinstance(event, Sent)]
    assert [event.again for event in sent[:2]] == [False, True]
    got = [event for event in told if isinstance(event, Got)]
    assert {(event.node, event.counts) for event in got} == {("n1", True), ("n2", True)}
    waiting = next(event for event in told if isinstance(event, Waiting))
    assert (waiting.have, waiting.need, waiting.nodes) == (2, 3, ("n3", "n4", "n5"))
    times = [event.after_s for event in told]
    assert times == sorted(times)


# Voters that have not entered the electorate.


@pytest.mark.parametrize("size", [5, 60])
def test_a_voter_that_was_not_told_of_the_founding_is_told_and_asked_again(size: int) -> None:
    network = FakeNetwork(node_names(size))
    record = record_of(network)
    network.enter(record, "n1", "n2")
    outcome = elect(network, record)
    assert outcome.verdict is Verdict.WON
    assert network.clock() < 0.4, "nobody waits until it is time to ask again"
    assert all(ledger.me().polity == POLITY for ledger in network.voters.values())
    assert any(isinstance(message, m.Offer) and message.chosen for message in network.sent)


def test_a_voter_that_is_an_epoch_behind_is_told_of_the_new_one() -> None:
    network, record = founded(5)
    newer = record._replace(epoch=3)
    network.enter(newer, "n1", "n2")
    outcome = elect(network, newer)
    assert outcome.verdict is Verdict.WON
    assert {ledger.me().epoch for ledger in network.voters.values()} == {3}


def test_a_voter_that_cannot_be_healed_is_offered_the_record_no_oftener_than_it_is_asked() -> None:
    network = FakeNetwork(node_names(5))
    record = record_of(network)
    network.enter(record, "n1", "n2", "n3", "n4")

    def refuse(node: str, data: bytes) -> Iterable[tuple[str, bytes]]:
        reply = wire.decode_reply(data)
        if node == "n5":
            reply = m.Refusal(reply.attempt, voter_id(5), b"", 0, b"", m.UNFOUNDED)
        return [(node, wire.encode(reply))]

    network.tamper = refuse
    for purpose in (Purpose.QUERY, Purpose.ELECT):
        network.sent.clear()
        assert run(network, record, purpose, at_least=5 * (purpose is Purpose.ELECT), timeout_s=5.0)
        offers = sum(isinstance(message, m.Offer) for message in network.sent)
        assert 1 <= offers + (purpose is Purpose.QUERY) <= len(network.sent) - offers


def test_a_stranger_that_knows_of_no_polity_is_not_let_in() -> None:
    network = FakeNetwork(["stranger", *node_names(5)])
    record = record_of(network, node_names(5))
    network.enter(record, *node_names(5))
    assert elect(network, record).verdict is Verdict.WON
    assert not any(isinstance(message, m.Offer) for message in network.sent)
    assert network.voters["stranger"].me().polity == m.NO_POLITY


# What an operator must hear of.


def meeting() -> tuple[FakeNetwork, Electorate]:
    network = FakeNetwork([*node_names(3), "m1", "m2", "m3"])
    mine = record_of(network, node_names(3))
    network.enter(mine, *node_names(3))
    network.enter(record_of(network, ["m1", "m2", "m3"], polity=b"polity-2"), "m1", "m2", "m3")
    return network, mine


def test_two_polities_in_one_cluster_are_both_named() -> None:
    network, record = meeting()
    network.down.add("n1")
    with pytest.raises(TwoPolities) as caught:
        who(network, record)
    assert f"n2, n3 in {POLITY.hex()}, where this was asked" in str(caught.value)
    assert f"m1, m2, m3 in {b'polity-2'.hex()}" in str(caught.value)
    assert "--namespace" in caught.value.hint
    assert "`polity dissolve`" in caught.value.hint
    assert "may still take effect" not in caught.value.hint


def test_three_polities_are_named_each_with_its_nodes() -> None:
    error = two_polities(b"polity-1", {"n1": b"polity-1", "m1": b"polity-2", "k1": b"polity-3", "new": b""})
    told = [f"{node} in {polity.hex()}" for node, polity in (("n1", b"polity-1"), ("m1", b"polity-2"))]
    assert str(error).startswith("3 polities meet")
    assert all(words in str(error) for words in (*told, f"k1 in {b'polity-3'.hex()}"))
    assert "new" not in str(error)


def test_who_passes_over_other_polities_asks_only_its_own() -> None:
    network, record = meeting()
    it = conductor(network)
    it.passes_over_others = True
    order = Order(Purpose.QUERY, ROLE, "n1", _claims.id())
    assert it.run(order, record, local=None, timeout_s=TIMEOUT_S).verdict is Verdict.ANSWER
    assert it.list_roles(record, timeout_s=TIMEOUT_S) == ()
    assert {node for node, polity in it.polities.items() if polity == b"polity-2"} == {"m1", "m2", "m3"}


def test_two_polities_that_meet_in_the_middle_of_an_election_say_that_it_may_take_effect() -> None:
    network, record = meeting()
    strangers = {"m1", "m2", "m3"}
    network.down.update(strangers)

    def wake_them(message: m.Query) -> None:
        if isinstance(message, m.Accept | m.Stand):
            network.down = {"n1"}

    network.on_ask = wake_them
    with pytest.raises(TwoPolities) as caught:
        elect(network, record)
    assert "may still take effect" in caught.value.hint


def slow_to_answer(network: FakeNetwork, nodes: set[str], after_s: float) -> None:
    """Hold the answers of these nodes back for so long."""

    def hold_back(node: str, data: bytes) -> list[tuple[str, bytes]]:
        if node not in nodes:
            return [(node, data)]
        network.send_answer(node, data, after_s=after_s)
        return []

    network.tamper = hold_back


@pytest.mark.parametrize("purpose", Purpose)
def test_a_quorum_that_is_faster_than_the_other_polity_hides_nothing(purpose: Purpose) -> None:
    network, record = meeting()
    slow_to_answer(network, {"m1", "m2", "m3"}, 0.2)
    told: Told = []
    with pytest.raises(TwoPolities) as caught:
        run(network, record, purpose, told=told)
    assert f"m1, m2, m3 in {b'polity-2'.hex()}" in str(caught.value)
    what = f"n1 holds {ROLE} (term 1)" if purpose is Purpose.ELECT else f"{ROLE} is vacant (term 0)"
    assert caught.value.hint.startswith(
        f"decided where this was asked, all the same: {what}; part the clusters"
    )
    assert [(e.what, e.nodes) for e in told if isinstance(e, Waiting)] == [("strangers", ("m1", "m2", "m3"))]
    assert (network.voters["n2"].register(ROLE).confirmed.holder == "n1") == (purpose is Purpose.ELECT)


def test_a_list_of_roles_does_not_hide_the_other_polity() -> None:
    network, record = meeting()
    slow_to_answer(network, {"m1", "m2", "m3"}, 0.2)
    with pytest.raises(TwoPolities):
        conductor(network).list_roles(record, timeout_s=TIMEOUT_S)


def test_a_newcomer_that_answers_costs_its_own_time_and_a_silent_one_some_moments_once() -> None:
    times = {}
    for name, after_s in (("nobody", None), ("a newcomer", 0.1), ("a silent one", 60.0)):
        network, record = founded(3)
        if after_s is not None:
            network.voters["m1"] = MemoryLedger(b"m1-voter")
            slow_to_answer(network, {"m1"}, after_s)
        it = conductor(network)
        assert elect(network, record, by=it).verdict is Verdict.WON
        times[name] = network.clock()
        assert who(network, record, by=it).verdict is Verdict.ANSWER
        times[f"{name}, again"] = network.clock() - times[name]
    assert times["nobody"] < 3 * ROUND_TRIP_S
    assert times["nobody"] < times["a newcomer"] <= times["nobody"] + 0.1
    assert times["nobody"] + 2.9 < times["a silent one"] < times["nobody"] + 3.1
    assert times["nobody, again"] + 0.45 < times["a silent one, again"] < times["nobody, again"] + 0.55


def test_who_was_not_waited_for_to_the_end_is_not_said_to_have_kept_silent() -> None:
    network, record = founded(3)
    network.voters["m1"] = MemoryLedger(b"m1-voter")
    slow_to_answer(network, {"m1"}, 60.0)
    it = conductor(network, stop_at_s=1.0)
    assert who(network, record, by=it).verdict is Verdict.ANSWER
    assert network.clock() < 1.5
    assert who(network, record, by=conductor(network), timeout_s=0.5).verdict is Verdict.ANSWER
    assert it.strangers.news() == {}


@pytest.mark.parametrize("after_s", [2.5, 60.0])
def test_who_was_once_heard_to_be_of_another_polity_is_not_missed_however_slow_it_is(after_s: float) -> None:
    network, record = meeting()
    it = conductor(network)
    with pytest.raises(TwoPolities):
        who(network, record, by=it)
    later = conductor(network, sighted=it.strangers.news())
    slow_to_answer(network, {"m1", "m2", "m3"}, after_s)
    with pytest.raises(TwoPolities, match=f"m1, m2, m3 in {b'polity-2'.hex()}"):
        who(network, record, by=later)
    network.status = dict.fromkeys(("m1", "m2", "m3"), "left")
    assert who(network, record, by=later).verdict is Verdict.ANSWER


def test_an_enrolled_node_that_was_heard_to_be_of_another_polity_is_not_missed_either() -> None:
    network, record = founded(5)
    apart = record._replace(polity=b"polity-2")
    network.voters["n5"] = MemoryLedger(b"n5-voter")
    network.enter(apart, "n5")
    slow_to_answer(network, {"n5"}, 60.0)
    it = conductor(network, sighted={"n5": Sighting(b"polity-2", 1)})
    with pytest.raises(TwoPolities, match=f"n5 in {b'polity-2'.hex()}"):
        who(network, record, by=it)
    network.tamper = lambda node, data: [(node, data)]
    network.voters["n5"] = MemoryLedger(b"n5-again")
    assert who(network, record, by=it).verdict is Verdict.ANSWER, "it says itself that it is in none"
    assert it.strangers.news() == {"n5": None}


def test_nobody_waits_for_strangers_that_are_dead_or_carry_no_tag_or_beyond_the_time_limit() -> None:
    network, record = meeting()
    network.down = {"m1", "m2", "m3"}
    network.status = {"m1": "failed", "m2": "left"}
    network.untagged = {"m3"}
    assert elect(network, record).verdict is Verdict.WON
    assert network.clock() < 3 * ROUND_TRIP_S
    network.status, before = {}, network.clock()
    assert who(network, record, timeout_s=0.1).verdict is Verdict.ANSWER
    assert network.clock() <= before + 0.1 + 1e-9


def test_what_is_decided_is_told_though_the_agent_fails_while_strangers_are_waited_for() -> None:
    network, record = meeting()
    network.down = {"m1", "m2", "m3"}
    listen = network.listen

    def fail_after_the_vote(timeout_s: float) -> Heard | None:
        if network.news:
            raise SerfUnreachable("the agent is gone")
        return listen(timeout_s)

    network.listen = fail_after_the_vote  # type: ignore[method-assign]
    assert elect(network, record).verdict is Verdict.WON


@pytest.mark.parametrize("purpose", Purpose)
def test_whoever_speaks_in_an_old_epoch_learns_of_the_new_one_and_goes_on_in_it(purpose: Purpose) -> None:
    network, record = founded(60)
    newer = record._replace(epoch=3)
    network.enter(newer)
    it = conductor(network)
    outcome = it.run(
        Order(purpose, ROLE, "n1", _claims.id()), record, local=m.Register(), timeout_s=TIMEOUT_S
    )
    assert (
        outcome.verdict
        is {
            Purpose.ELECT: Verdict.WON,
            Purpose.RECALL: Verdict.VACANT,
            Purpose.QUERY: Verdict.ANSWER,
            Purpose.CARRY: Verdict.ANSWER,
        }[purpose]
    )
    assert it.electorate == newer
    assert all(news.epoch == 3 for news in network.news)


def test_one_voter_that_is_ahead_takes_everybody_along() -> None:
    network, record = founded(5)
    network.enter(record._replace(epoch=3), "n4")
    assert recall(network, record, "n2", at_least=5).verdict is Verdict.VACANT
    assert elect(network, record).verdict is Verdict.WON
    assert {ledger.me().epoch for ledger in network.voters.values()} == {3}


def test_an_election_begun_in_an_old_epoch_is_still_one_election() -> None:
    network, record = founded(5)

    def on_ask(message: m.Query) -> None:
        if isinstance(message, m.Accept):
            network.on_ask = lambda message: None
            network.enter(record._replace(epoch=3))

    network.down.update({"n4", "n5"})  # without them there is no fast quorum
    network.on_ask = on_ask
    won = elect(network, record)
    assert (won.verdict, holds(won)) == (Verdict.WON, ("n1", 1))
    assert holds(who(network, record, "n2")) == ("n1", 1)


def test_a_newer_epoch_whose_record_cannot_be_read_is_no_reason_to_tell_an_outcome() -> None:
    network, record = founded(3)
    network.enter(record._replace(epoch=3))
    network.tamper = lambda node, data: [] if isinstance(wire.decode_reply(data), m.Page) else [(node, data)]
    outcome = elect(network, record, timeout_s=3.0, hint=True)
    assert (outcome.verdict, outcome.may_take_effect) == (Verdict.UNKNOWN, True)
    assert who(network, record, timeout_s=3.0).verdict is Verdict.NO_QUORUM


def test_how_many_votes_are_wanted_is_asked_anew_in_a_newer_epoch() -> None:
    network = FakeNetwork(node_names(5))
    old = record_of(network, node_names(3))
    network.enter(old, *node_names(3))
    grown = record_of(network)._replace(epoch=3)
    network.enter(grown)
    network.kill("n4", "n5")
    order = Order(Purpose.ELECT, ROLE, "n1", _claims.id(), at_least=3, patient=True)
    all_of_them = conductor(network).run(
        order, old, local=None, timeout_s=5.0, at_least_of=lambda record: record.current.n
    )
    assert (all_of_them.verdict, all_of_them.required) == (Verdict.NO_QUORUM, 5)
    as_the_rule = conductor(network).run(order, old, local=None, timeout_s=5.0, at_least_of=lambda record: 0)
    assert (as_the_rule.verdict, as_the_rule.required) == (Verdict.WON, 3)


def test_an_operation_that_learns_of_a_newer_electorate_does_not_give_up_for_want_of_the_old_voters() -> None:
    network = FakeNetwork(node_names(6))
    old = record_of(network, node_names(3))
    newer = record_of(network, ["n3", "n4", "n5", "n6"])._replace(epoch=3)
    network.enter(old, *node_names(3))
    network.enter(newer, "n3", "n4", "n5", "n6")
    network.kill("n1", "n2")
    lost = 0

    def tamper(node: str, data: bytes) -> Iterable[tuple[str, bytes]]:
        nonlocal lost
        if isinstance(wire.decode_reply(data), m.Page) and lost < 8:
            lost += 1  # twice nobody's page arrives
            return []
        return [(node, data)]

    network.tamper = tamper
    assert who(network, old, "n3").verdict is Verdict.ANSWER


def test_refusals_of_another_attempt_stop_nobody() -> None:
    network, record = founded(5)
    for reason in (m.OTHER_POLITY, m.OLD_EPOCH, m.UNFOUNDED, m.BEHIND):
        network.send_answer("n2", m.Refusal(b"another!", voter_id(2), b"polity-2", 9, b"", reason), after_s=0)
    assert elect(network, record).verdict is Verdict.WON
    assert not any(isinstance(message, m.Offer) for message in network.sent)


# Answers that do not count.


def test_a_copy_of_a_disk_that_answers_from_another_node_is_not_counted() -> None:
    network, record = founded(5)
    network.kill("n3", "n4", "n5")
    for copy in ("copy-1", "copy-2"):
        same_disk(network, "n3", copy)
    told: Told = []
    assert who(network, record, told=told).verdict is Verdict.NO_QUORUM
    assert elect(network, record, told=told).verdict is Verdict.NO_QUORUM
    got = {(event.node, event.counts) for event in told if isinstance(event, Got)}
    assert got == {("n1", True), ("n2", True), ("copy-1", False), ("copy-2", False)}


def remembered_by(conducted: Conductor, before: Remembered | None = None) -> Remembered:
    return {**(before or {}), **conducted.witness.news()}


@pytest.mark.parametrize("planted", [False, True], ids=["as shipped", "without the comparison"])
def test_a_ledger_that_was_set_back_cannot_help_to_elect_a_second_holder(
    monkeypatch: pytest.MonkeyPatch, planted: bool
) -> None:
    """n1 and n2 elect n1. Then n2 forgets that, and n3, whose voter never heard of it, stands."""
    network = FakeNetwork(node_names(3))
    record = record_of(network, rule=QuorumRule(500_000, 2))
    network.enter(record)
    network.kill("n3")
    snapshot = deepcopy(network.voters["n2"])
    assert holds(elect(network, record)) == ("n1", 1)
    first = conductor(network)
    question = Order(Purpose.QUERY, ROLE, "n3", _claims.id())
    assert holds(first.run(question, record, local=None, timeout_s=TIMEOUT_S)) == ("n1", 1)

    network.voters["n2"] = snapshot
    network.down, network.status = {"n1"}, {"n1": "failed"}
    if planted:
        monkeypatch.setattr(Witness, "hear", lambda *_: True)
        monkeypatch.setattr(Witness, "refuses", lambda *_: False)
    told: Told = []
    second = conductor(network, told=told, seed=2, remembered=remembered_by(first))
    order = Order(Purpose.ELECT, ROLE, "n3", _claims.id())
    outcome = second.run(order, record, local=None, timeout_s=TIMEOUT_S)
    if planted:
        assert holds(outcome) == ("n3", 1), "two holders of one term"
        return
    assert outcome.verdict in (Verdict.NO_QUORUM, Verdict.UNKNOWN)
    assert second.witness.set_back == {"n2": snapshot.me().voter}
    assert ("n2", False, True) in {(e.node, e.counts, e.set_back) for e in told if isinstance(e, Got)}
    assert outcome.silent == ("n1", "n2")


def test_a_set_back_in_the_middle_of_an_operation_is_noticed_with_the_next_question() -> None:
    network, record = founded(3)
    snapshot = deepcopy(network.voters["n2"])
    conducted = conductor(network)
    order = Order(Purpose.ELECT, ROLE, "n1", _claims.id())
    conducted.run(order, record, local=None, timeout_s=TIMEOUT_S)
    assert not conducted.witness.set_back
    network.voters["n2"] = snapshot
    conducted.run(order._replace(claim=_claims.id()), record, local=None, timeout_s=TIMEOUT_S)
    assert set(conducted.witness.set_back) == {"n2"}


def test_nobody_waits_for_a_voter_known_to_be_set_back() -> None:
    network, record = founded(3)
    network.kill("n3")
    voter = network.voters["n2"].me().voter
    conducted = conductor(network, remembered={("n2", voter): SET_BACK})
    outcome = conducted.run(
        Order(Purpose.QUERY, ROLE, "n1", _claims.id()), record, local=None, timeout_s=TIMEOUT_S
    )
    assert outcome.verdict is Verdict.NO_QUORUM
    assert network.clock() < TIMEOUT_S / 2


def test_a_set_back_voter_neither_lists_roles_nor_answers_a_roll_call() -> None:
    network, record = founded(3)
    voter = network.voters["n3"].me().voter
    remembered = {("n3", voter): 1_000}
    assert set(conductor(network, remembered=remembered).roll_call(timeout_s=1, enough=lambda _: False)) == {
        "n1",
        "n2",
    }
    network.kill("n2")
    with pytest.raises(NoQuorum, match="n3"):
        conductor(network, remembered=remembered).list_roles(record, timeout_s=TIMEOUT_S)


@pytest.mark.parametrize("seed", range(20))
def test_no_healthy_voter_is_refused_on_a_network_that_does_everything(seed: int) -> None:
    network, record = founded(3, seed=seed)
    network.loss, network.doubling, network.lateness = 0.1, 0.4, 0.5
    remembered: Remembered = {}
    for number in range(8):
        node = f"n{number % 3 + 1}"
        conducted = conductor(network, seed=seed * 100 + number, remembered=remembered)
        purpose = (Purpose.ELECT, Purpose.RECALL, Purpose.QUERY)[number % 3]
        order = Order(purpose, ROLE, node, _claims.id())
        conducted.run(order, record, local=network.voters[node].register(ROLE), timeout_s=5)
        assert not conducted.witness.set_back
        remembered = remembered_by(conducted, remembered)
    for node, ledger in network.voters.items():
        assert remembered.get((node, ledger.me().voter), 0) <= ledger.me().serial
    assert len(remembered) == 3


def test_the_state_of_a_stranger_is_not_counted() -> None:
    network, record = founded(5)
    network.kill("n3", "n4", "n5")

    def double(node: str, data: bytes) -> Iterable[tuple[str, bytes]]:
        reply = wire.decode_reply(data)
        assert isinstance(reply, m.State)
        return [(node, data), ("stranger", wire.encode(reply._replace(voter=b"stranger")))]

    network.tamper = double
    assert who(network, record).verdict is Verdict.NO_QUORUM
    assert elect(network, record).verdict is Verdict.NO_QUORUM


def test_the_state_that_belongs_to_another_attempt_is_not_counted() -> None:
    network, record = founded(5)

    def mix_up(node: str, data: bytes) -> Iterable[tuple[str, bytes]]:
        reply = wire.decode_reply(data)
        if node in ("n3", "n4", "n5"):
            reply = reply._replace(attempt=b"another!")
        return [(node, wire.encode(reply))]

    network.tamper = mix_up
    told: Told = []
    outcome = who(network, record, told=told, timeout_s=3.0)
    assert (outcome.verdict, outcome.silent) == (Verdict.NO_QUORUM, ("n3", "n4", "n5"))
    assert not any(event.counts for event in told if isinstance(event, Got) and event.node == "n3")


def test_what_nobody_can_read_is_counted_as_strange_and_passed_over() -> None:
    network, record = founded(5)
    network.tamper = lambda node, data: [(node, b"\xc1 what?"), (node, data)]
    assert elect(network, record).verdict is Verdict.WON
    assert network.strange >= 4


# Time, and those who have no more of it.


@pytest.mark.parametrize("timeout_s", [0.05, 1.0, 7.3])
@pytest.mark.parametrize("purpose", Purpose)
@pytest.mark.parametrize("patient", [False, True])
def test_a_time_limit_is_kept_when_nobody_answers(purpose: Purpose, timeout_s: float, patient: bool) -> None:
    network, record = founded(5)
    network.down.update(node_names(5))
    outcome = run(network, record, purpose, timeout_s=timeout_s, patient=patient)
    assert outcome.verdict is Verdict.NO_QUORUM
    assert not outcome.may_take_effect
    assert network.clock() <= timeout_s + SLACK_S


def test_who_sees_too_few_alive_gives_up_early_unless_patient() -> None:
    network, record = founded(5)
    network.kill("n3", "n4", "n5")
    elect(network, record)
    assert network.clock() < 2.0
    began_s = network.clock()
    elect(network, record, patient=True, timeout_s=8.0)
    assert network.clock() - began_s == pytest.approx(8.0, abs=SLACK_S)


def test_patience_is_rewarded() -> None:
    network, record = founded(5)
    network.kill("n3", "n4", "n5")

    def come_back(message: m.Query) -> None:
        if network.clock() > 5.0:
            network.down.clear()
            network.status.clear()

    network.on_ask = come_back
    assert elect(network, record, patient=True).verdict is Verdict.WON


def go_silent_at(network: FakeNetwork, kind: type[m.Query]) -> None:
    """All voters hear the first message of that kind; none of their answers comes back from then on."""

    def swallow(message: m.Query) -> None:
        if isinstance(message, kind):
            network.tamper = lambda node, data: []

    network.on_ask = swallow


@pytest.mark.parametrize("kind", [m.Stand, m.Accept])
@pytest.mark.parametrize("stopped", [False, True])
def test_an_election_cut_off_after_it_proposed_is_unknown_and_may_take_effect(
    kind: type[m.Query], stopped: bool
) -> None:
    network, record = founded(5)
    if kind is m.Accept:
        network.kill("n5")
        network.status["n5"] = "alive"
        network.tamper = lambda node, data: [(node, data)] if node != "n4" else []
    go_silent_at(network, kind)
    outcome = elect(network, record, timeout_s=3.0, stop_at_s=1.5 if stopped else None)
    assert outcome.verdict is Verdict.UNKNOWN
    assert outcome.may_take_effect
    assert outcome.tenure is None
    assert outcome.silent == tuple(node_names(5))
    network.on_ask, network.tamper = lambda message: None, lambda node, data: [(node, data)]
    assert holds(who(network, record, "n2")) == ("n1", 1)


def test_an_operation_that_is_stopped_before_it_proposed_is_no_quorum() -> None:
    network, record = founded(5)
    network.down.update({"n2", "n3", "n4", "n5"})
    outcome = elect(network, record, stop_at_s=0.6)
    assert (outcome.verdict, outcome.may_take_effect) == (Verdict.NO_QUORUM, False)
    assert network.clock() <= 0.6 + SLACK_S
    network.down.clear()
    assert holds(who(network, record)) == (None, 0)


def test_an_operation_that_is_decided_already_does_not_hear_the_wish_to_stop() -> None:
    network, record = founded(5)
    got: list[Got] = []
    busy = Conductor(
        network,
        watch=lambda event: got.append(event) if isinstance(event, Got) else None,
        should_stop=lambda: len(got) >= record.current.f,
        clock=network.clock,
        draws=SeededDraws(),
    )
    order = Order(Purpose.ELECT, ROLE, "n1", b"my claim")
    outcome = busy.run(order, record, local=m.Register(), timeout_s=TIMEOUT_S)
    assert (outcome.verdict, len(got)) == (Verdict.WON, 4)


@pytest.mark.parametrize("timeout_s", [0.0, -1.0, float("nan")])
def test_a_time_limit_of_nothing_is_bad_input(timeout_s: float) -> None:
    network, record = founded(5)
    calls: list[Callable[[Conductor], object]] = [
        lambda c: c.learn_electorate(timeout_s=timeout_s),
        lambda c: c.list_roles(record, timeout_s=timeout_s),
        lambda c: c.roll_call(timeout_s=timeout_s, enough=lambda names: False),
        lambda c: c.found(node_names(3), POLITY, record.current.rule, timeout_s=timeout_s),
    ]
    for call in calls:
        with pytest.raises(BadInput):
            call(conductor(network))
    with pytest.raises(BadInput):
        who(network, record, timeout_s=timeout_s)
    assert network.sent == []


# Learning the electorate.


@pytest.mark.parametrize("size", [3, 100])
def test_the_electorate_is_learned_in_pages(size: int) -> None:
    network, record = founded(size)
    assert conductor(network).learn_electorate(timeout_s=TIMEOUT_S) == record
    fetched = {message.page for message in network.sent if isinstance(message, m.Fetch)}
    assert len(fetched) == len(wire.pages(wire.encode_record(record)))
    assert (len(fetched) > 1) == (size == 100)


@pytest.mark.parametrize("seed", range(5))
def test_the_electorate_is_learned_from_a_network_that_loses_much(seed: int) -> None:
    network, record = founded(40, seed=seed)
    network.loss, network.doubling = 0.3, 0.3
    assert conductor(network).learn_electorate(timeout_s=TIMEOUT_S) == record


def test_where_nobody_knows_of_a_polity_there_is_none() -> None:
    network = FakeNetwork(node_names(5))
    assert conductor(network).learn_electorate(timeout_s=TIMEOUT_S) is None
    assert network.clock() < 1.0, "all voters have answered: there is nothing to wait for"


def test_one_voter_that_knows_is_enough_to_learn_of_the_polity() -> None:
    network = FakeNetwork(node_names(5))
    record = record_of(network)
    network.enter(record, "n5")
    assert conductor(network).learn_electorate(timeout_s=TIMEOUT_S) == record


def test_voters_that_do_not_answer_are_waited_for_before_it_is_said_that_there_is_no_polity() -> None:
    network = FakeNetwork(node_names(5))
    network.enter(record_of(network), "n5")
    network.down.add("n5")
    assert conductor(network).learn_electorate(timeout_s=TIMEOUT_S) is None
    assert sum(isinstance(message, m.Fetch) for message in network.sent) == 3


def test_where_nobody_answers_there_is_no_quorum() -> None:
    network, _ = founded(5)
    network.kill(*node_names(5))
    with pytest.raises(NoQuorum, match="no voter of this cluster answered") as caught:
        conductor(network).learn_electorate(timeout_s=TIMEOUT_S)
    assert "polity doctor" in caught.value.hint
    assert network.clock() < TIMEOUT_S


def test_a_page_of_garbage_is_passed_over_for_one_that_makes_sense() -> None:
    network, record = founded(5)

    def lie(node: str, data: bytes) -> Iterable[tuple[str, bytes]]:
        reply = wire.decode_reply(data)
        if node == "n1" and isinstance(reply, m.Page):
            reply = reply._replace(data=b"garbage")
        return [(node, wire.encode(reply))]

    network.tamper = lie
    assert conductor(network).learn_electorate(timeout_s=TIMEOUT_S) == record


def test_garbage_under_its_own_name_is_passed_over_as_well() -> None:
    network, record = founded(5)

    def lie(node: str, data: bytes) -> Iterable[tuple[str, bytes]]:
        reply = wire.decode_reply(data)
        if node == "n1" and isinstance(reply, m.Page):
            reply = reply._replace(data=b"garbage", digest=wire.digest(b"garbage"))
        return [(node, wire.encode(reply))]

    network.tamper = lie
    assert conductor(network).learn_electorate(timeout_s=TIMEOUT_S) == record


def test_who_only_hears_unreadable_records_says_so() -> None:
    network, _ = founded(5)

    def lie(node: str, data: bytes) -> Iterable[tuple[str, bytes]]:
        reply = wire.decode_reply(data)
        assert isinstance(reply, m.Page)
        future = b"\x94\x02" + reply.data[2:]
        return [(node, wire.encode(reply._replace(data=future, digest=wire.digest(future))))]

    network.tamper = lie
    with pytest.raises(NoQuorum, match=r"no voter .* can read") as caught:
        conductor(network).learn_electorate(timeout_s=TIMEOUT_S)
    assert "version" in caught.value.hint
    assert network.strange


@pytest.mark.parametrize("garbled", [0, 1])
def test_a_garbled_page_of_many_does_not_keep_the_record_away(garbled: int) -> None:
    network, record = founded(100)

    def lie(node: str, data: bytes) -> Iterable[tuple[str, bytes]]:
        reply = wire.decode_reply(data)
        if node == "n1" and isinstance(reply, m.Page) and reply.page == garbled:
            reply = reply._replace(data=b"garbage")
        return [(node, wire.encode(reply))]

    network.tamper = lie
    assert conductor(network).learn_electorate(timeout_s=TIMEOUT_S) == record


def test_answers_to_another_question_are_not_taken_for_answers_to_this_one() -> None:
    network, record = founded(3)
    network.down.update(node_names(3))
    page = wire.encode_record(record)
    network.send_answer("n1", m.Page(b"another!", voter_id(1), POLITY, 1, wire.digest(page), 0, 1, page))
    roles = m.RoleList(b"another!", voter_id(1), POLITY, 1, ("ghost",), False)
    for number in (1, 2, 3):
        network.send_answer(f"n{number}", roles._replace(voter=voter_id(number)), after_s=3.0)
    with pytest.raises(NoQuorum):
        conductor(network).learn_electorate(timeout_s=2.0)
    with pytest.raises(NoQuorum):
        conductor(network).list_roles(record, timeout_s=5.0)


# Listing roles, and calling the roll.


def touch(network: FakeNetwork, record: Electorate, node: str, roles: Iterable[str]) -> None:
    """Let one voter know of roles."""
    for role in roles:
        booth.handle(
            network.voters[node],
            m.Prepare(b"attempt!", record.polity, record.epoch, role, Ballot(1, b"attempt!")),
        )


def test_hundreds_of_long_names_are_listed_page_by_page_where_voters_know_different_ones() -> None:
    network, record = founded(5)
    roles = [f"{number:04d}-" + "a very long name of a röle " * 4 for number in range(300)]
    for at, role in enumerate(roles):
        for offset in range(3):
            touch(network, record, f"n{(at + offset) % 5 + 1}", [role])
    assert conductor(network).list_roles(record, timeout_s=600.0) == tuple(roles)
    # Whatever was decided has its trace at a quorum, so two voters may be away.
    network.kill("n1", "n4")
    assert conductor(network).list_roles(record, timeout_s=600.0) == tuple(roles)


@pytest.mark.parametrize("seed", range(3))
def test_names_are_listed_completely_on_a_network_that_loses_much(seed: int) -> None:
    network, record = founded(5, seed=seed)
    roles = [f"role-{number}" for number in range(150)]
    for at, role in enumerate(roles):
        for offset in range(3):
            touch(network, record, f"n{(at + offset) % 5 + 1}", [role])
    network.loss, network.doubling, network.lateness = 0.2, 0.2, 0.2
    listed = conductor(network).list_roles(record, timeout_s=600.0)
    assert listed == tuple(sorted(roles))


def test_names_beyond_ascii_are_in_the_order_of_their_bytes() -> None:
    network, record = founded(3)
    roles = ["a", "z", "ä", "\uffee", "\U0001f600"]
    for node in node_names(3):
        touch(network, record, node, roles)
    assert conductor(network).list_roles(record, timeout_s=TIMEOUT_S) == tuple(roles)


def test_where_no_role_was_decided_the_list_is_empty() -> None:
    network, record = founded(3)
    assert conductor(network).list_roles(record, timeout_s=TIMEOUT_S) == ()


def test_roles_are_not_listed_from_less_than_a_quorum() -> None:
    network, record = founded(5)
    network.kill("n3", "n4", "n5")
    same_disk(network, "n3", "copy")
    with pytest.raises(NoQuorum, match="2 of 5 voters answered, 3 are needed; no answer from n3, n4, n5"):
        conductor(network).list_roles(record, timeout_s=TIMEOUT_S)
    assert network.clock() < 2.0


def test_the_roll_call_names_who_answers_and_what_they_have_entered() -> None:
    network, _ = founded(3)
    network.down.add("n2")
    present = conductor(network).roll_call(timeout_s=TIMEOUT_S, enough=lambda names: len(names) >= 3)
    assert {node: page.polity for node, page in present.items()} == {"n1": POLITY, "n3": POLITY}
    assert network.clock() < 2.0
    began_s = network.clock()
    network.down.clear()
    assert len(conductor(network).roll_call(timeout_s=9.0, enough=lambda names: len(names) >= 3)) == 3
    assert network.clock() - began_s < 0.1


def test_an_agent_that_fails_after_a_proposal_leaves_the_outcome_unknown() -> None:
    network, record = founded(5)

    def fail(message: m.Query) -> None:
        if isinstance(message, m.Stand):
            raise SerfUnreachable("the agent went away", hint="start it")

    network.on_ask = fail
    with pytest.raises(OutcomeUnknown, match=r"the agent went away.*may have taken effect") as unknown:
        elect(network, record)
    assert "polity who" in unknown.value.hint


def test_an_agent_that_fails_before_any_proposal_is_the_agents_error() -> None:
    network, record = founded(5)

    def fail(message: m.Query) -> None:
        raise SerfUnreachable("the agent went away")

    network.on_ask = fail
    with pytest.raises(SerfUnreachable):
        who(network, record)
    with pytest.raises(SerfUnreachable):
        recall(network, record)


def test_a_failing_announcement_does_not_hide_what_is_decided(monkeypatch: pytest.MonkeyPatch) -> None:
    network, record = founded(5)

    def fail(news: m.Announce) -> None:
        raise SerfTimeout("no answer to: event")

    monkeypatch.setattr(network, "announce", fail)
    assert elect(network, record).verdict is Verdict.WON


@pytest.mark.parametrize("purpose", [Purpose.ELECT, Purpose.RECALL])
def test_what_is_stopped_before_it_began_sends_nothing_and_can_have_no_effect(purpose: Purpose) -> None:
    network, record = founded(5)
    network.sent.clear()
    outcome = run(network, record, purpose, hint=True, stop_at_s=0.0)
    assert (outcome.verdict, outcome.may_take_effect) == (Verdict.NO_QUORUM, False)
    assert network.sent == []


def test_a_list_of_roles_heals_a_voter_that_missed_the_end_of_the_founding() -> None:
    network = FakeNetwork(node_names(3))
    record = record_of(network)
    network.enter(record, "n1", "n2")
    assert conductor(network).list_roles(record, timeout_s=5.0) == ()
    assert network.voters["n3"].me().polity == record.polity


@pytest.mark.parametrize(
    ("says_s", "floor"), [(1_800_000_000.9999, 1_800_000_000_999), (-5.0, 0), (1e18, MAX_JUMP), (0.0, 0)]
)
def test_rounds_grow_with_the_clock_but_never_beyond_what_a_voter_takes(
    says_s: float, floor: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "time", lambda: says_s)
    assert SystemDraws().round_floor() == floor
