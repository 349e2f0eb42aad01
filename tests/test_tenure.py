"""Tenures form a chain, and names are checked."""

from __future__ import annotations

import pytest

from polity_cli.core.tenure import VACANT, Tenure, check_role
from polity_cli.errors import BadInput


def test_filling_and_emptying_raise_the_term_by_one_each() -> None:
    held = VACANT.filled_by("n1", b"c1")
    assert (held.term, held.holder, held.claim, held.is_vacant) == (1, "n1", b"c1", False)
    empty = held.emptied(b"c2")
    assert (empty.term, empty.holder, empty.claim, empty.is_vacant) == (2, None, b"c2", True)
    assert empty.filled_by("n2", b"c3").term == 3


def test_a_filled_tenure_gives_back_the_very_vacancy_it_fills() -> None:
    vacancy = VACANT.filled_by("n1", b"c1").emptied(b"c2")
    assert vacancy.filled_by("n2", b"c3").vacancy_before() == vacancy
    assert VACANT.filled_by("n1", b"c1").vacancy_before() == VACANT


def test_people_read_the_term_and_the_holder() -> None:
    assert str(Tenure(3, "n1", b"")) == "term 3 n1"
    assert str(Tenure(4, None, b"")) == "term 4 vacant"


@pytest.mark.parametrize("name", ["a", "nightly backup", "x" * 128, "ä" * 64, "日本", "a/b:c"])
def test_a_usable_name_is_returned_unchanged(name: str) -> None:
    assert check_role(name) == name


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("", "empty"),
        ("x" * 129, "129 bytes"),
        ("ä" * 65, "130 bytes"),
        ("a\nb", "control character"),
        ("a\x00b", "control character"),
        ("a\x7fb", "control character"),
        ("a\x85b", "control character"),
        (" a", "begins or ends"),
        ("a ", "begins or ends"),
        ("\udcff", "not valid UTF-8"),
    ],
)
def test_an_unusable_name_is_refused_with_what_is_wrong_and_what_to_do(name: str, complaint: str) -> None:
    with pytest.raises(BadInput, match=complaint) as refused:
        check_role(name)
    assert refused.value.hint
