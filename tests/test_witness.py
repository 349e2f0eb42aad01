"""Which ledgers were set back: a voter that was not is never refused, one that was and shows it always is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from polity_cli.core import messages as m
from polity_cli.core.witness import REMINDER_BYTES, SET_BACK, Witness, reminded_of, way_out

V1, V2 = b"voter--1", b"voter--2"
FIRST, SECOND = b"question", b"another-"


def reply(question: bytes, voter: bytes, serial: int) -> m.Reply:
    return m.Holding(question, voter, b"", 0, b"", False, serial)


def asked(*questions: bytes, remembered: dict[tuple[str, bytes], int] | None = None) -> Witness:
    witness = Witness(remembered or {})
    for question in questions:
        witness.asked(question)
    return witness


def test_less_than_was_remembered_before_the_question_is_a_set_back() -> None:
    witness = asked(FIRST, remembered={("n1", V1): 5})
    assert not witness.hear("n1", reply(FIRST, V1, 4))
    assert witness.set_back == {"n1": V1}
    assert witness.news() == {("n1", V1): SET_BACK}


def test_as_much_or_more_is_none() -> None:
    witness = asked(FIRST, remembered={("n1", V1): 5})
    assert witness.hear("n1", reply(FIRST, V1, 5))
    assert witness.news() == {}, "nothing grew, nothing to write"
    assert witness.hear("n1", reply(FIRST, V1, 8))
    assert witness.news() == {("n1", V1): 8}
    assert not witness.set_back


def test_answers_to_one_question_may_come_in_any_order() -> None:
    witness = asked(FIRST)
    assert witness.hear("n1", reply(FIRST, V1, 9))
    assert witness.hear("n1", reply(FIRST, V1, 3))
    assert witness.news() == {("n1", V1): 9}


def test_a_late_answer_to_an_earlier_question_proves_nothing() -> None:
    witness = asked(FIRST, SECOND)
    assert witness.hear("n1", reply(SECOND, V1, 9))
    assert witness.hear("n1", reply(FIRST, V1, 3))


def test_an_answer_to_a_question_asked_after_more_was_shown_is_proof() -> None:
    witness = asked(FIRST)
    assert witness.hear("n1", reply(FIRST, V1, 9))
    witness.asked(SECOND)
    assert not witness.hear("n1", reply(SECOND, V1, 8))


def test_a_question_sent_again_counts_from_the_first_time() -> None:
    """The answer may be to the first copy of it."""
    witness = asked(FIRST, SECOND)
    witness.hear("n1", reply(SECOND, V1, 9))
    witness.asked(FIRST)
    assert witness.hear("n1", reply(FIRST, V1, 3))


def test_an_answer_to_no_question_of_ours_proves_nothing() -> None:
    witness = asked(remembered={("n1", V1): 5})
    assert witness.hear("n1", reply(FIRST, V1, 4))


def test_a_copy_on_another_node_says_nothing_of_the_original() -> None:
    witness = asked(FIRST, remembered={("n1", V1): 5})
    assert witness.hear("n2", reply(FIRST, V1, 2))
    assert witness.hear("n3", reply(FIRST, V1, 50))
    witness.asked(SECOND)
    assert witness.hear("n1", reply(SECOND, V1, 6))
    assert not witness.set_back


def test_a_voter_of_another_id_on_the_node_begins_anew() -> None:
    witness = asked(FIRST, remembered={("n1", V1): SET_BACK})
    assert witness.hear("n1", reply(FIRST, V2, 1))


def test_who_was_set_back_is_refused_for_good_however_much_it_counts() -> None:
    witness = asked(FIRST, remembered={("n1", V1): 5})
    witness.hear("n1", reply(FIRST, V1, 4))
    assert not witness.hear("n1", reply(FIRST, V1, 6))
    later = asked(SECOND, remembered=witness.news())
    assert later.refuses("n1", V1)
    assert not later.hear("n1", reply(SECOND, V1, 1000))
    assert not later.hear("n1", reply(FIRST, V1, 1000)), "whatever it answers"
    assert later.news() == {}


@given(
    remembered=st.integers(0, 3),
    steps=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), min_size=1, max_size=20),
    order=st.randoms(use_true_random=False),
)
def test_a_voter_that_was_never_set_back_is_never_refused(
    remembered: int, steps: list[tuple[int, int]], order: object
) -> None:
    """Questions go out while the voter counts on; its answers come in any order, some twice, some never."""
    witness = Witness({("n1", V1): remembered})
    serial = remembered
    under_way: list[m.Reply] = []
    for number, (grows, heard) in enumerate(steps):
        question = number.to_bytes(8)
        witness.asked(question)
        serial += grows
        under_way += [reply(question, V1, serial)] * 2
        for at in [reply(n.to_bytes(8), V1, serial) for n in range(number)]:
            under_way.append(at)  # a copy of an earlier question that comes now
        order.shuffle(under_way)  # type: ignore[attr-defined]
        for _ in range(heard):
            assert witness.hear("n1", under_way.pop())
    assert all(witness.hear("n1", answer) for answer in under_way)
    assert not witness.set_back


@given(seen=st.integers(1, 9), missing=st.integers(1, 9), late=st.integers(0, 9))
def test_a_voter_set_back_is_refused_as_soon_as_it_shows_less_than_was_known(
    seen: int, missing: int, late: int
) -> None:
    witness = asked(FIRST)
    witness.hear("n1", reply(FIRST, V1, seen))
    witness.asked(SECOND)
    shown = max(0, seen - missing)
    assert not witness.hear("n1", reply(SECOND, V1, shown))
    assert not witness.hear("n1", reply(SECOND, V1, seen + late))


def test_voters_are_reminded_of_the_highest_serial_they_have_shown_and_of_nothing_else() -> None:
    witness = asked(FIRST, remembered={("n1", V1): 5, ("n2", V2): SET_BACK})
    witness.hear("n1", reply(FIRST, V1, 8))
    witness.hear("n3", reply(FIRST, V1, 2**62))
    witness.hear("n4", reply(FIRST, V2, 0))
    reminders = witness.reminders()
    assert all(len(each) == REMINDER_BYTES for each in reminders)
    told = b"".join(reminders)
    assert list(reminded_of(("n1", V1), told)) == [8]
    assert list(reminded_of(("n3", V1), told)) == [2**62], "a copy is another one"
    assert [list(reminded_of(who, told)) for who in (("n2", V2), ("n4", V2), ("n1", V2))] == [[], [], []]


def test_who_says_that_it_was_set_back_is_believed_for_good() -> None:
    witness = asked(FIRST)
    assert witness.hear("n1", m.Refusal(FIRST, V1, b"", 0, b"", m.OTHER_POLITY, 7))
    assert not witness.hear("n1", m.Refusal(FIRST, V1, b"", 0, b"", m.SET_BACK, 7))
    assert witness.news() == {("n1", V1): SET_BACK}
    assert not witness.hear("n1", reply(FIRST, V1, 9))


def test_the_way_out_names_the_nodes_and_the_command() -> None:
    assert way_out(["n3"]).startswith("n3: its ledger was set back")
    assert "`polity voters add n1 n3`" in way_out(["n3", "n1"])
