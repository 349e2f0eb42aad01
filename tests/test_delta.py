"""Records as deltas of others: nothing is lost, the largest fit a message, and rubbish is Garbled."""

from __future__ import annotations

from itertools import pairwise

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polity_cli.core.electorate import Electorate, Enrolled, Roll
from polity_cli.core.quorum import SimpleMajority
from polity_cli.edges import wire
from polity_cli.edges.delta import apply, delta_of
from tests import strategies as some

some_bytes = st.binary(max_size=300) | st.lists(st.sampled_from([b"abcdefgh", b"ijklmnop", b"x"])).map(
    b"".join
)


@given(some_bytes, some_bytes)
def test_a_delta_of_anything_makes_it_again(base: bytes, data: bytes) -> None:
    assert apply(base, delta_of(base, data)) == data


@given(some.records(), some.records())
def test_a_delta_of_any_record_makes_any_other(base: Electorate, record: Electorate) -> None:
    old, new = wire.encode_record(base), wire.encode_record(record)
    made = wire.delta(old, new)
    if made is not None:
        assert len(made) <= wire.PAGE_BYTES
        assert wire.decode_record(apply(old, made)) == record


def voters(*numbers: int) -> Roll:
    """With the longest names there can be."""
    ids = [number.to_bytes(8, "big") for number in numbers]
    return Roll(tuple(Enrolled(each, f"node-{each.hex()}".ljust(128, "x")) for each in ids), SimpleMajority)


@pytest.mark.parametrize(
    ("before", "after"),
    [(range(100), range(101)), (range(100), range(99)), (range(100), [*range(50), *range(51, 102)])],
    ids=["one more", "one less", "one replaced and one more"],
)
def test_a_change_of_a_hundred_voters_is_one_message_in_both_its_steps(
    before: list[int], after: list[int]
) -> None:
    old = Electorate(b"polity-1", 1, (voters(*before),))
    joint = old.joint_with(voters(*after))
    records = [wire.encode_record(record) for record in (old, joint, joint.completed())]
    assert all(len(wire.pages(record)) > 25 for record in records)
    for base, record in pairwise(records):
        made = wire.delta(base, record)
        assert made is not None
        assert apply(base, made) == record


def test_a_record_that_has_nothing_of_the_other_is_no_delta() -> None:
    old, new = (Electorate(b"polity-1", 1, (voters(*numbers),)) for numbers in (range(30), range(30, 60)))
    longer = wire.encode_record(new).replace(b"x" * 40, b"y" * 40)
    assert wire.delta(wire.encode_record(old), longer) is None


BASE = b"0123456789"


@pytest.mark.parametrize(
    "pieces",
    [
        None,
        7,
        {"at": 1},
        ["text"],
        [[0, 11]],
        [[-1, 2]],
        [[10, 1]],
        [[0, 0]],
        [[0, -1]],
        [[0]],
        [[0, 1, 2]],
        [[True, b"x"]],
        [None],
    ],
)
def test_rubbish_is_garbled(pieces: object) -> None:
    with pytest.raises(wire.Garbled, match="delta"):
        apply(BASE, msgpack.packb(pieces))


@given(st.binary(max_size=wire.PAGE_BYTES))
def test_any_bytes_are_a_delta_or_garbled(data: bytes) -> None:
    try:
        made = apply(BASE, data)
    except wire.Garbled:
        return
    assert len(made) <= wire.MAX_PAGES * wire.PAGE_BYTES


def test_a_delta_that_makes_too_much_is_garbled() -> None:
    base = b"x" * 70_000
    assert apply(base, msgpack.packb([[0, 70_000]])) == base
    with pytest.raises(wire.Garbled, match="too much"):
        apply(base, msgpack.packb([[0, 70_000]] * 2))
