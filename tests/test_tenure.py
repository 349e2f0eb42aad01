"""Tenures: one chain of vacancies and holders, and the names a role may have."""

from __future__ import annotations

import pytest

from polity_cli.core.tenure import MAX_ROLE_BYTES, VACANT, Tenure, check_name, check_role
from polity_cli.errors import BadInput


def test_terms_grow_through_holders_and_vacancies() -> None:
    first = VACANT.filled_by("n0", b"claim-e0")
    vacant = first.emptied(b"claim-r0")
    second = vacant.filled_by("n1", b"claim-e1")
    assert [t.term for t in (VACANT, first, vacant, second)] == [0, 1, 2, 3]
    assert [t.is_vacant for t in (VACANT, first, vacant, second)] == [True, False, True, False]
    assert (second.holder, second.claim) == ("n1", b"claim-e1")


def test_a_filled_tenure_can_write_down_the_vacancy_it_fills() -> None:
    vacant = Tenure(4, None, b"claim-r1")
    assert vacant.filled_by("n0", b"claim-e0").vacancy_before() == vacant
    assert VACANT.filled_by("n0", b"claim-e0").vacancy_before() == VACANT


def test_a_slot_stays_with_the_role_through_vacancies_and_those_who_stand_for_none() -> None:
    vacant = VACANT.filled_by("n0", b"claim-e0", "7").emptied(b"claim-r0")
    assert (vacant.slot, vacant.after_slot) == ("7", "")
    unslotted = vacant.filled_by("n1", b"claim-e1")
    assert (unslotted.slot, unslotted.after_slot) == ("7", "7")
    assert unslotted.vacancy_before() == vacant
    later = unslotted.emptied(b"claim-r1").filled_by("n2", b"claim-e2", "8")
    assert (later.slot, later.vacancy_before().slot) == ("8", "7")
    assert [later.has_had(slot) for slot in ("", "7", "8", "9")] == [False, True, True, False]
    assert not VACANT.has_had("0")


def test_two_vacancies_of_one_term_are_told_apart_by_whoever_fills_them() -> None:
    one, other = Tenure(2, None, b"claim-r0"), Tenure(2, None, b"claim-r1")
    assert one.filled_by("n0", b"e") != other.filled_by("n0", b"e")


def test_tenures_are_told_briefly() -> None:
    assert str(VACANT) == "term 0 vacant"
    assert str(Tenure(3, "n1", b"c")) == "term 3 n1"


@pytest.mark.parametrize(
    "name", ["a", "backup", "leader of the pack", "größe", "x" * MAX_ROLE_BYTES, "a/b:c"]
)
def test_a_usable_role_name_comes_back_unchanged(name: str) -> None:
    assert check_role(name) == name


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("", "is empty"),
        ("x" * (MAX_ROLE_BYTES + 1), "129 bytes long, 128 at most"),
        ("ü" * 65, "130 bytes long"),
        ("a\nb", "control character"),
        ("a\tb", "control character"),
        ("a\x7fb", "control character"),
        ("a\x85b", "control character"),
        (" a", "begins or ends with a blank"),
        ("a\u3000", "begins or ends with a blank"),
        ("a\udcffb", "not valid UTF-8"),
    ],
)
def test_an_unusable_role_name_is_refused_with_the_reason_and_a_hint(name: str, why: str) -> None:
    with pytest.raises(BadInput, match=why) as caught:
        check_role(name)
    assert str(caught.value).startswith("the role name ")
    assert caught.value.hint


def test_the_message_says_which_name_is_meant() -> None:
    with pytest.raises(BadInput, match="the holder is empty"):
        check_name("", "holder", 10)
