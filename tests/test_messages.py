"""One line for each kind of message: what people and logs are told of it."""

from __future__ import annotations

import pytest

from polity_cli.core import messages as m
from polity_cli.core.ballot import ZERO, Ballot
from polity_cli.core.messages import describe
from polity_cli.core.tenure import ELECTORATE, VACANT, Tenure
from tests.fake_network import voter_id

A, V, P = b"attempt!", voter_id(1), b"polity-1"
BALLOT = Ballot(3, bytes.fromhex("abcdef0011223344"))
HELD = Tenure(1, "n1", b"claim...")
DIGEST = bytes.fromhex("0123456789abcdef" * 2)

LINES: list[tuple[m.Message | m.Reply, str]] = [
    (m.Read(A, P, 1, "leader"), "read(leader)"),
    (m.Prepare(A, P, 1, "leader", BALLOT), "prepare(leader, 3.abcdef)"),
    (m.Prepare(A, m.NO_POLITY, 0, ELECTORATE, BALLOT), "prepare(the electorate, 3.abcdef)"),
    (m.Accept(A, P, 1, "leader", BALLOT, HELD), "accept(leader, 3.abcdef, term 1 n1)"),
    (
        m.Stand(A, P, 1, "leader", ZERO, VACANT, HELD, BALLOT),
        "stand(leader, on 0, term 1 n1, 3.abcdef)",
    ),
    (m.Announce(P, 1, "leader", BALLOT.fast, HELD), "announce(leader, 3.abcdef/fast, term 1 n1)"),
    (m.Offer(A, DIGEST, 0, 2, b"", False), "offer(012345, page 1 of 2)"),
    (m.Offer(A, DIGEST, 1, 2, b"", True), "offer(012345, page 2 of 2, chosen)"),
    (m.Delta(A, b"\xba" * 16, DIGEST, b"", False), "delta(012345 from bababa)"),
    (m.Delta(A, b"\xba" * 16, DIGEST, b"", True), "delta(012345 from bababa, chosen)"),
    (m.Fetch(A, DIGEST, 2), "fetch(012345, page 3)"),
    (m.Fetch(A, b"", 0), "fetch(entered, page 1)"),
    (m.ListRoles(A, P, 1, "back\nup"), "list-roles(after 'back\\nup')"),
    (
        m.State(A, V, P, 1, BALLOT, ZERO, VACANT, ZERO, VACANT),
        "promised 3.abcdef, accepted term 0 vacant at 0",
    ),
    (
        m.State(A, V, P, 1, BALLOT, BALLOT, HELD, BALLOT, HELD),
        "promised 3.abcdef, accepted term 1 n1 at 3.abcdef, knows term 1 n1 at 3.abcdef",
    ),
    (m.Page(A, V, P, 1, DIGEST, 0, 2, b"x"), "page 1 of 2 of 012345"),
    (m.Page(A, V, m.NO_POLITY, 0, b"", 0, 0, b""), "holds no record"),
    (m.Holding(A, V, P, 1, DIGEST, True), "epoch 1, holds the record"),
    (m.Holding(A, V, m.NO_POLITY, 0, b"", False), "epoch 0, lacks pages of the record"),
    (m.RoleList(A, V, P, 1, ("a", "b"), False), "knows 2 roles"),
    *[
        (m.Refusal(A, V, P, 1, DIGEST, reason), f"refuses: {words}")
        for reason, words in sorted(m.REASONS.items())
    ],
    (m.Refusal(A, V, P, 1, DIGEST, 200), "refuses: for a reason unknown here"),
]


@pytest.mark.parametrize(("message", "line"), LINES, ids=[line for _, line in LINES])
def test_a_message_is_told_in_one_line(message: m.Message | m.Reply, line: str) -> None:
    assert describe(message) == line
    assert "\n" not in line


def test_no_kind_of_message_is_left_out() -> None:
    kinds = (*m.Query.__args__, m.Announce, *m.Reply.__args__)
    assert {type(message) for message, _ in LINES} == set(kinds)


def test_every_reason_to_refuse_has_its_words() -> None:
    reasons = {m.UNFOUNDED, m.FOUNDED, m.OTHER_POLITY, m.OLD_EPOCH, m.BEHIND, m.NO_RECORD, m.UNUSABLE}
    reasons.add(m.SET_BACK)
    assert set(m.REASONS) == reasons
    assert len(set(m.REASONS.values())) == len(reasons) == 8
