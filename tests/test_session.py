"""What an operation's outcome is called, what to do next, and how a shell would want the role."""

from __future__ import annotations

import shlex

import pytest

from polity_cli.core.electorate import Electorate, Enrolled, founding_record
from polity_cli.core.operation import Outcome, Purpose, Verdict
from polity_cli.core.quorum import SimpleMajority
from polity_cli.core.tenure import Tenure
from polity_cli.errors import (
    GuardFailed,
    LostElection,
    NoQuorum,
    OutcomeUnknown,
    PolityError,
    RoleUnfilled,
)
from polity_cli.outcomes import error_of
from tests.fake_network import node_names, voter_id

HELD = Tenure(7, "n2", b"claim...")
EMPTY = Tenure(8, None, b"claim...")


def five_voters() -> Electorate:
    names = enumerate(node_names(5), 1)
    return founding_record(b"polity-1", [Enrolled(voter_id(at), name) for at, name in names], SimpleMajority)


def outcome(verdict: Verdict, tenure: Tenure | None = None, silent: tuple[str, ...] = ()) -> Outcome:
    return Outcome(
        verdict, tenure, None, frozenset(), frozenset(), 3, 5, 1, silent, None, verdict is Verdict.UNKNOWN
    )


def error(
    verdict: Verdict,
    tenure: Tenure | None = None,
    *,
    purpose: Purpose = Purpose.ELECT,
    role: str = "backup",
    silent: tuple[str, ...] = (),
) -> PolityError:
    found = error_of((purpose, role), outcome(verdict, tenure, silent), five_voters())
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("verdict", "tenure"),
    [
        (Verdict.WON, HELD),
        (Verdict.HELD, HELD),
        (Verdict.RECALLED, EMPTY),
        (Verdict.ANSWER, HELD),
        (Verdict.ANSWER, EMPTY),
    ],
)
def test_a_plain_yes_is_no_error(verdict: Verdict, tenure: Tenure) -> None:
    assert error_of((Purpose.ELECT, "backup"), outcome(verdict, tenure), five_voters()) is None


def test_every_verdict_is_a_yes_or_an_error() -> None:
    for verdict in Verdict:
        found = error_of((Purpose.ELECT, "backup"), outcome(verdict, HELD), five_voters())
        yes = verdict in (Verdict.WON, Verdict.HELD, Verdict.RECALLED, Verdict.ANSWER)
        assert (found is None) == yes, verdict
        assert yes or (found is not None and found.hint), verdict


def test_lost_names_the_holder_and_the_term() -> None:
    lost = error(Verdict.LOST, HELD)
    assert isinstance(lost, LostElection)
    assert (str(lost), lost.exit_code) == ("n2 holds backup (term 7)", 3)
    assert (lost.holder, lost.term) == ("n2", 7)
    assert "`polity recall backup`" in lost.hint


def test_a_guard_that_failed_says_who_holds_the_role_instead() -> None:
    guard = error(Verdict.GUARD, HELD, purpose=Purpose.RECALL)
    assert isinstance(guard, GuardFailed)
    assert (str(guard), guard.exit_code) == ("backup is held by n2 in term 7, so nothing was recalled", 3)


def test_a_vacant_role_says_how_to_fill_it() -> None:
    vacant = error(Verdict.VACANT, EMPTY, purpose=Purpose.RECALL)
    assert isinstance(vacant, RoleUnfilled)
    assert (str(vacant), vacant.exit_code) == ("nobody holds backup", 4)
    assert vacant.hint == "`polity elect backup` fills it"


def test_no_quorum_names_the_silent_and_says_that_nothing_can_happen_later() -> None:
    nobody = error(Verdict.NO_QUORUM, silent=("n4", "n5"))
    assert isinstance(nobody, NoQuorum)
    assert str(nobody) == "no quorum for backup: 3 of 5 voters are needed; no answer from n4, n5"
    assert nobody.exit_code == 5
    assert "nothing of this command can take effect later" in nobody.hint
    assert str(error(Verdict.NO_QUORUM)) == "no quorum for backup: 3 of 5 voters are needed"


@pytest.mark.parametrize(("purpose", "doing"), [(Purpose.ELECT, "candidacy"), (Purpose.RECALL, "recall")])
def test_unknown_says_why_and_how_to_find_out(purpose: Purpose, doing: str) -> None:
    unknown = error(Verdict.UNKNOWN, purpose=purpose, silent=("n1", "n3"))
    assert isinstance(unknown, OutcomeUnknown)
    assert unknown.exit_code == 6
    assert (
        str(unknown) == f"it is not known whether the {doing} for backup took effect; no answer from n1, n3"
    )
    assert "`polity who backup` once 3 voters answer" in unknown.hint


def test_unknown_because_the_role_has_gone_on_says_so() -> None:
    unknown = error(Verdict.UNKNOWN, HELD)
    assert str(unknown).endswith("took effect; the role has gone on to term 7 since")


@pytest.mark.parametrize(
    "role", ["backup", "team/a.b_c-1", "of the day", "it's", "a;b", "$HOME", "`id`", "*", "röle", "a\\b", '"']
)
@pytest.mark.parametrize("verdict", [Verdict.LOST, Verdict.VACANT, Verdict.UNKNOWN])
def test_a_command_in_a_hint_can_be_pasted_into_a_shell(role: str, verdict: Verdict) -> None:
    hint = error(verdict, HELD, role=role).hint
    start = hint.index("`polity ") + 1
    verb = {Verdict.LOST: "recall", Verdict.VACANT: "elect", Verdict.UNKNOWN: "who"}[verdict]
    assert shlex.split(hint[start : hint.rindex("`")]) == ["polity", verb, role]


@pytest.mark.parametrize("role", ["-x", "--help", "-"])
def test_a_role_that_looks_like_an_option_is_not_taken_for_one(role: str) -> None:
    words = shlex.split(error(Verdict.VACANT, EMPTY, role=role).hint.split("`")[1])
    assert words == ["polity", "elect", "--", role]
