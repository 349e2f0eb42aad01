"""Bytes on the wire: nothing is lost on the way, everything fits, and rubbish is Garbled and no more."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Callable, Iterator
from typing import get_args

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polity_cli.core import messages as m
from polity_cli.core.ballot import FAST, MAX_ROUND, Ballot
from polity_cli.core.electorate import Electorate, Enrolled, Roll
from polity_cli.core.quorum import QuorumRule
from polity_cli.core.slot import MAX_SLOT_BYTES
from polity_cli.core.tenure import MAX_TERM, Tenure
from polity_cli.core.witness import REMINDER_BYTES
from polity_cli.edges import wire
from tests import strategies as some

ID = b"\xff" * 8
DIGEST = b"\xff" * 16
ROLE = "r" * 128
NODE = "n" * 128
EPOCH = some.MAX_EPOCH
BALLOT = Ballot(MAX_ROUND, ID, FAST)
SLOT = "s" * MAX_SLOT_BYTES
FILLED = Tenure(MAX_TERM, NODE, ID, 2 * ID, SLOT, SLOT)
VACANT = Tenure(MAX_TERM, None, ID, ID, SLOT)
SIMPLE = QuorumRule(500_000, 3)

# The longest there can be of each kind.
LARGEST: dict[type, m.Message | m.Reply] = {
    m.Read: m.Read(ID, ID, EPOCH, ROLE),
    m.Prepare: m.Prepare(ID, ID, EPOCH, ROLE, BALLOT),
    m.Accept: m.Accept(ID, ID, EPOCH, ROLE, BALLOT, FILLED),
    m.Stand: m.Stand(ID, ID, EPOCH, ROLE, BALLOT, VACANT, FILLED, BALLOT),
    m.Announce: m.Announce(ID, EPOCH, ROLE, BALLOT, FILLED),
    m.Offer: m.Offer(ID, DIGEST, 255, 255, b"\xff" * wire.PAGE_BYTES, True),
    m.Delta: m.Delta(ID, DIGEST, DIGEST, b"\xff" * wire.PAGE_BYTES, True),
    m.Fetch: m.Fetch(ID, DIGEST, 255),
    m.ListRoles: m.ListRoles(ID, ID, EPOCH, ROLE),
    m.State: m.State(ID, ID, ID, EPOCH, BALLOT, BALLOT, FILLED, BALLOT, FILLED, m.MAX_SERIAL),
    m.Refusal: m.Refusal(ID, ID, ID, EPOCH, DIGEST, 255, m.MAX_SERIAL),
    m.Page: m.Page(ID, ID, ID, EPOCH, DIGEST, 255, 255, b"\xff" * wire.PAGE_BYTES, m.MAX_SERIAL),
    m.Holding: m.Holding(ID, ID, ID, EPOCH, DIGEST, True, m.MAX_SERIAL),
    m.RoleList: m.RoleList(ID, ID, ID, EPOCH, (ROLE, ROLE, ROLE, ROLE), True, m.MAX_SERIAL),
}
QUERY_KINDS = get_args(m.Query)
REPLY_KINDS = get_args(m.Reply)
ALL_KINDS = (*QUERY_KINDS, m.Announce, *REPLY_KINDS)

SAMPLES = [wire.encode(message) for message in LARGEST.values()]


def decode(data: bytes) -> m.Message | m.Reply:
    """Either kind of bytes; a reply is told from a query by who accepts it."""
    try:
        return wire.decode_message(data)
    except wire.Garbled:
        return wire.decode_reply(data)


def only_garbled(data: bytes) -> bool:
    """True if all three decoders refuse `data`; lets any other exception through."""
    refused = 0
    decoders: tuple[Callable[[bytes], object], ...] = (
        wire.decode_message,
        wire.decode_reply,
        wire.decode_record,
    )
    for decoder in decoders:
        try:
            decoder(data)
        except wire.Garbled:
            refused += 1
    return refused == len(decoders)


def roll(size: int, *, names: int = 1, rule: QuorumRule = SIMPLE) -> Roll:
    return Roll(tuple(Enrolled(i.to_bytes(8, "big"), f"{i:03d}" * names) for i in range(size)), rule)


def named_in_full(size: int) -> Roll:
    """Voters whose nodes have names of 128 bytes."""
    return Roll(tuple(Enrolled(i.to_bytes(8, "big"), f"{i:0128d}") for i in range(size)), SIMPLE)


def packed(*fields: object) -> bytes:
    data: bytes = msgpack.packb(list(fields))
    return data


# Round trips


def test_every_kind_of_message_and_reply_has_a_strategy_and_a_largest_example() -> None:
    assert set(ALL_KINDS) == set(LARGEST)
    assert set(ALL_KINDS) == {*some.QUERIES, *some.NEWS, *some.REPLIES}


@given(some.messages)
def test_a_message_comes_back_as_it_was(message: m.Message) -> None:
    back = wire.decode_message(wire.encode(message))
    assert (type(back), back) == (type(message), message)


@given(some.replies)
def test_a_reply_comes_back_as_it_was(reply: m.Reply) -> None:
    back = wire.decode_reply(wire.encode(reply))
    assert (type(back), back) == (type(reply), reply)


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_parts_of_a_message_come_back_in_their_own_classes(kind: type) -> None:
    """Records of different classes with equal fields are equal, so equality alone shows too little."""
    back = decode(wire.encode(LARGEST[kind]))
    assert list(map(type, back)) == list(map(type, LARGEST[kind]))


@given(some.records())
def test_a_record_comes_back_as_it_was(record: Electorate) -> None:
    back = wire.decode_record(wire.encode_record(record))
    assert back == record
    assert all(type(roll) is Roll and type(roll.rule) is QuorumRule for roll in back.rolls)
    assert all(type(e) is Enrolled for e in back.voters)


@given(some.records(), some.records())
def test_two_records_have_one_digest_only_if_they_are_equal(one: Electorate, two: Electorate) -> None:
    digests = [wire.digest(wire.encode_record(record)) for record in (one, two)]
    assert (digests[0] == digests[1]) == (one == two)
    assert {len(digest) for digest in digests} == {wire.DIGEST_BYTES}


def test_a_query_is_no_reply_and_a_reply_is_no_query() -> None:
    for kind in ALL_KINDS:
        wrong = wire.decode_message if kind in REPLY_KINDS else wire.decode_reply
        with pytest.raises(wire.Garbled, match="came where a"):
            wrong(wire.encode(LARGEST[kind]))


# Sizes


def test_the_largest_of_every_kind_fits_what_serf_carries_with_a_margin() -> None:
    for kind, message in LARGEST.items():
        size = len(wire.encode(message))
        if kind in REPLY_KINDS:
            assert size <= wire.RESPONSE_BYTES <= 900, kind
        elif kind is m.Announce:
            assert size <= wire.EVENT_BYTES <= 450, kind
        else:
            assert size <= wire.QUERY_BYTES <= 850, kind


def serf_query(payload: bytes) -> bytes:
    """A query as Serf's nodes send it, from a node and to a namespace with the longest names, filtered."""
    fields = {
        "Addr": b"\xff" * 16,
        "Filters": [msgpack.packb([1, {"Tag": "t" * 32, "Expr": "voter"}])],
        "Flags": 2**32 - 1,
        "ID": 2**32 - 1,
        "LTime": 2**32 - 1,
        "Name": "p" * 32,
        "Payload": payload,
        "Port": 65_535,
        "RelayFactor": 2,
        "SourceNode": NODE,
        "Timeout": 5 * 10**9,
    }
    return b"\x04" + packed(fields)[1:]


def serf_relayed_response(payload: bytes) -> bytes:
    """A response on its way through a third node, between nodes with the longest names."""
    header = {"DestAddr": {"IP": b"\xff" * 16, "Port": 65_535, "Zone": ""}, "DestName": NODE}
    fields = {"Flags": 0, "From": NODE, "ID": 2**32 - 1, "LTime": 2**32 - 1, "Payload": payload}
    return b"\x09" + packed(header)[1:] + b"\x05" + packed(fields)[1:]


def serf_event(payload: bytes) -> bytes:
    return b"\x03" + packed({"CC": False, "LTime": 2**32 - 1, "Name": "p" * 32, "Payload": payload})[1:]


def test_our_limits_fit_serf_s_own_between_nodes_with_the_longest_names() -> None:
    assert len(serf_query(b"\xff" * wire.QUERY_BYTES)) <= 1024
    assert len(serf_relayed_response(b"\xff" * wire.RESPONSE_BYTES)) <= 1024
    assert len(serf_event(b"\xff" * wire.EVENT_BYTES)) <= 512


@pytest.mark.parametrize(
    ("message", "limit"),
    [
        (m.Stand(ID, ID, EPOCH, "r" * 400, BALLOT, FILLED, FILLED, BALLOT), wire.QUERY_BYTES),
        (m.Announce(ID, EPOCH, "r" * 300, BALLOT, FILLED), wire.EVENT_BYTES),
        (m.RoleList(ID, ID, ID, EPOCH, (ROLE,) * 5, True), wire.RESPONSE_BYTES),
    ],
    ids=["query", "event", "response"],
)
def test_what_does_not_fit_is_never_encoded(message: m.Message | m.Reply, limit: int) -> None:
    with pytest.raises(ValueError, match=f"{limit} at most"):
        wire.encode(message)


@pytest.mark.parametrize(
    "record",
    [
        Electorate(ID, EPOCH - 1, (named_in_full(100),)),
        Electorate(ID, EPOCH, (named_in_full(100), named_in_full(100))),
        Electorate(ID, EPOCH, (named_in_full(wire.MAX_VOTERS), named_in_full(wire.MAX_VOTERS))),
    ],
    ids=["100 voters", "100 voters, joint", "255 voters, joint"],
)
def test_the_record_of_many_voters_with_the_longest_names_travels_in_pages(record: Electorate) -> None:
    data = wire.encode_record(record)
    pages = wire.pages(data)
    assert 1 < len(pages) <= wire.MAX_PAGES
    carried = []
    for at, page in enumerate(pages):
        offer = m.Offer(ID, wire.digest(data), at, len(pages), page, True)
        shown = m.Page(ID, ID, ID, EPOCH, wire.digest(data), at, len(pages), page)
        assert wire.decode_message(wire.encode(offer)) == offer
        carried.append(wire.decode_reply(wire.encode(shown)))
    assert wire.decode_record(b"".join(page.data for page in carried if type(page) is m.Page)) == record


def test_a_small_record_is_one_page_and_no_record_none() -> None:
    data = wire.encode_record(Electorate(ID, 1, (roll(5),)))
    assert wire.pages(data) == [data]
    assert wire.pages(b"") == []


# Records that nobody may enter


@pytest.mark.parametrize(
    ("record", "why"),
    [
        (Electorate(ID, 1, (roll(wire.MAX_VOTERS + 1),)), "1 to 255 voters"),
        (Electorate(ID, 1, (roll(0),)), "1 to 255 voters"),
        (Electorate(ID, 1, (Roll(roll(3).voters[::-1], SIMPLE),)), "in order"),
        (Electorate(ID, 1, (Roll(roll(3).voters + roll(3).voters, SIMPLE),)), "each once"),
        (Electorate(ID, 1, (roll(5, rule=QuorumRule(300_000, 1)),)), "unsafe"),
        (Electorate(ID, 1, (roll(2),)), "never give"),
        (Electorate(ID, 1, (roll(5, rule=QuorumRule(500_000, 300)),)), "0 to 255"),
        (Electorate(ID, 1, (roll(5, rule=QuorumRule(1_000_001, 3)),)), "0 to 1000000"),
        (Electorate(ID, 1, (roll(3, names=43),)), "1 to 128 bytes"),
        (Electorate(ID, 1, (Roll((Enrolled(ID, ""),), QuorumRule(500_000, 1)),)), "1 to 128 bytes"),
        (Electorate(ID, 0, (roll(3),)), "begin with 1"),
        (Electorate(ID, 2, (roll(3),)), "only even ones are joint"),
        (Electorate(ID, 3, (roll(3), roll(4))), "only even ones are joint"),
        (Electorate(ID, EPOCH + 1, (roll(3),)), "number"),
        (Electorate(b"", 1, (roll(3),)), "8 bytes"),
        (Electorate(ID, 1, ()), "array"),
        (Electorate(ID, 1, (roll(3), roll(3), roll(3))), "array"),
    ],
)
def test_a_record_that_breaks_the_rules_is_neither_written_nor_read(record: Electorate, why: str) -> None:
    rolls = [
        [[[e.voter, e.node] for e in roll.voters], roll.rule.millionths, roll.rule.min_votes]
        for roll in record.rolls
    ]
    with pytest.raises(wire.Garbled, match=why):
        wire.decode_record(packed(wire.RECORD_VERSION, record.polity, record.epoch, rolls))
    with pytest.raises(wire.Garbled, match=why):
        wire.encode_record(record)


def test_a_record_has_one_encoding_only() -> None:
    """Another one would be another digest, and two names for one epoch."""
    record = Electorate(ID, 1, (roll(3),))
    data = wire.encode_record(record)
    longer = data[:1] + b"\xcc\x01" + data[2:]  # the version as an uint8 instead of a fixint
    assert msgpack.unpackb(longer) == msgpack.unpackb(data)
    for other in (longer, data + b"\n"):
        with pytest.raises(wire.Garbled, match="one encoding"):
            wire.decode_record(other)


# Rubbish


@given(st.binary(max_size=3 * wire.RESPONSE_BYTES))
def test_random_bytes_are_garbled(data: bytes) -> None:
    assert only_garbled(data)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_msgpack_of_anything_else_is_garbled(value: object) -> None:
    assert only_garbled(msgpack.packb(value))
    assert only_garbled(packed(wire.VERSION, value))


@given(some.messages | some.replies, st.data())
def test_a_message_cut_short_is_garbled(message: m.Message | m.Reply, data: st.DataObject) -> None:
    whole = wire.encode(message)
    assert only_garbled(whole[: data.draw(st.integers(0, len(whole) - 1))])


def test_a_message_cut_short_at_any_byte_is_garbled() -> None:
    for whole in SAMPLES:
        assert all(only_garbled(whole[:size]) for size in range(len(whole)))


def flip(whole: bytes, rng: random.Random) -> bytes:
    """A copy with one to three bytes changed, put in or taken out."""
    data = bytearray(whole)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(data))
        match rng.randrange(3):
            case 0:
                data[at] = rng.randrange(256)
            case 1:
                data.insert(at, rng.randrange(256))
            case _:
                del data[at]
    return bytes(data)


@given(some.messages | some.replies, st.randoms(use_true_random=False))
def test_a_mutated_message_is_garbled_or_a_message_in_its_own_right(
    message: m.Message | m.Reply, rng: random.Random
) -> None:
    data = flip(wire.encode(message), rng)
    try:
        other = decode(data)
    except wire.Garbled:
        return
    assert decode(wire.encode(other)) == other


@given(some.records(), st.randoms(use_true_random=False))
def test_a_mutated_record_is_garbled_or_a_record_in_its_own_right(
    record: Electorate, rng: random.Random
) -> None:
    data = flip(wire.encode_record(record), rng)
    try:
        other = wire.decode_record(data)
    except wire.Garbled:
        return
    assert wire.encode_record(other) == data


STRANGE: tuple[object, ...] = (
    None,
    True,
    False,
    -1,
    2**64 - 1,
    1.0,
    "x" * 200,
    b"x" * 600,
    "",
    b"",
    b"x",
    [],
    {},
    [None] * 9,
)


def with_field(whole: bytes, path: tuple[int, ...], value: object) -> bytes:
    fields = msgpack.unpackb(whole)
    target = fields
    for step in path[:-1]:
        target = target[step]
    target[path[-1]] = value
    data: bytes = msgpack.packb(fields)
    return data


def paths(value: object, before: tuple[int, ...] = ()) -> Iterator[tuple[int, ...]]:
    """The places of everything inside nested arrays."""
    if isinstance(value, list):
        for at, inner in enumerate(value):
            yield (*before, at)
            yield from paths(inner, (*before, at))


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_every_field_is_checked(kind: type) -> None:
    """A strange value anywhere is refused, or stands for a message that comes back as the same bytes."""
    whole = wire.encode(LARGEST[kind])
    for path in paths(msgpack.unpackb(whole)):
        refused = 0
        for value in STRANGE:
            data = with_field(whole, path, value)
            try:
                assert wire.encode(decode(data)) == data, (path, value)
            except wire.Garbled:
                refused += 1
        assert refused >= len(STRANGE) - 4, path


@pytest.mark.parametrize(
    "message",
    [
        m.Prepare(ID, ID, 1, "r", Ballot(MAX_ROUND + 1, ID)),
        m.Prepare(ID, ID, 1, "r", Ballot(2**64 - 1, ID)),
        m.Prepare(ID, ID, 1, "r", Ballot(-1, ID)),
        m.Prepare(ID, ID, 1, "r", Ballot(1, ID, 2)),
        m.Prepare(ID, ID, EPOCH + 1, "r", Ballot(1, ID)),
        m.Prepare(ID[:7], ID, 1, "r", Ballot(1, ID)),
        m.Prepare(b"", ID, 1, "r", Ballot(1, ID)),
        m.Accept(ID, ID, 1, "r", Ballot(1, ID), Tenure(MAX_TERM + 1, NODE, ID)),
        m.Accept(ID, ID, 1, "r", Ballot(1, ID), Tenure(1, "", ID)),
        m.Accept(ID, ID, 1, "r", Ballot(1, ID), Tenure(1, NODE + "n", ID)),
        m.Accept(ID, ID, 1, ROLE + "r", Ballot(1, ID), FILLED),
        m.Accept(ID, ID, 1, "é" * 65, Ballot(1, ID), FILLED),
        m.Prepare(ID, ID, True, "r", Ballot(1, ID)),
        m.Prepare(ID, ID, 1, "r", Ballot(True, ID)),
        m.Prepare(ID, ID, 1, "r", Ballot(1, ID, True)),
        m.Fetch(ID, DIGEST, True),
        m.Holding(ID, ID, ID, 1, DIGEST, 1),  # type: ignore[arg-type]
        m.Offer(ID, DIGEST[:15], 0, 1, b"", False),
        m.Offer(ID, DIGEST, 0, 256, b"", False),
        m.Offer(ID, DIGEST, 0, 1, b"x" * (wire.PAGE_BYTES + 1), False),
    ],
)
def test_absurd_numbers_and_names_are_garbled(message: m.Message | m.Reply) -> None:
    assert only_garbled(wire.encode(message))


@pytest.mark.parametrize("text", [b"\xff\xfe", b"\xed\xa0\x80", b"\xc0\x80", b"\xf5\x80\x80\x80"])
def test_a_text_that_is_not_utf8_is_garbled(text: bytes) -> None:
    whole = wire.encode(m.Read(ID, ID, 1, "r" * len(text)))
    assert whole.endswith(b"r" * len(text))
    assert only_garbled(whole[: -len(text)] + text)


def test_nothing_may_follow_but_one_new_line() -> None:
    for whole in SAMPLES:
        assert decode(whole + b"\n") == decode(whole)
        for tail in (b"\n\n", b"\r\n", b" ", b"\0", b"\xc0", b"\n\0", whole):
            assert only_garbled(whole + tail)


def test_a_message_whose_last_byte_is_a_new_line_is_read_with_and_without_another() -> None:
    """Serf adds a new line only where there is none, so nobody may strip one."""
    whole = wire.encode(m.Fetch(ID, DIGEST, 10))
    assert whole.endswith(b"\n")
    assert wire.decode_message(whole) == wire.decode_message(whole + b"\n") == m.Fetch(ID, DIGEST, 10)
    assert only_garbled(whole[:-1])


def test_a_future_version_is_told_from_rubbish() -> None:
    for fields in ((wire.VERSION + 1, 1, ID), (255, "anything"), (2**63, {"a": 1}, None)):
        for decoder in (wire.decode_message, wire.decode_reply):
            with pytest.raises(wire.FutureVersion, match=f"version {fields[0]}"):
                decoder(packed(*fields))
    with pytest.raises(wire.FutureVersion, match="record of version 2"):
        wire.decode_record(packed(2, "of another shape"))


def test_a_message_of_the_version_before_is_named_and_not_understood() -> None:
    with pytest.raises(wire.Garbled, match="a message of version 2; this program speaks version 3") as caught:
        wire.decode_message(packed(2, 1, ID, ID, 1, "r"))
    assert caught.type is wire.Garbled


def test_the_bytes_of_a_record_are_those_of_the_first_version() -> None:
    """Its digest is its name: in ledgers, in the register of the electorate, everywhere."""
    record = Electorate(b"polity-1", 1, (Roll((Enrolled(b"voter--1", "n1"),), QuorumRule(500_000, 1)),))
    known = "9401c408706f6c6974792d3101919391" + "92c408766f7465722d2d31a26e31ce0007a12001"
    assert wire.encode_record(record).hex() == known


@pytest.mark.parametrize("version", [0, -1, True, 1.0, "1", b"1", None, [1]])
def test_a_version_that_never_was_is_garbled_and_no_future(version: object) -> None:
    for whole in (*SAMPLES, wire.encode_record(Electorate(ID, 1, (roll(3),)))):
        data = with_field(whole, (0,), version)
        for decoder in (wire.decode_message, wire.decode_reply, wire.decode_record):
            with pytest.raises(wire.Garbled) as caught:
                decoder(data)
            assert caught.type is wire.Garbled


@pytest.mark.parametrize("kind", [0, 9, 32, 38, -1, 2**40, True, None, "1", [1], {}])
def test_an_unknown_kind_is_garbled(kind: object) -> None:
    assert only_garbled(packed(wire.VERSION, kind, ID, ID, 1, "r"))


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_a_field_too_many_or_too_few_is_garbled(kind: type) -> None:
    fields = msgpack.unpackb(wire.encode(LARGEST[kind]))
    assert only_garbled(packed(*fields, None))
    assert only_garbled(packed(*fields[:-1]))


def test_too_many_bytes_are_refused_unread() -> None:
    with pytest.raises(wire.Garbled, match="too many"):
        wire.decode_message(b"\x90" * (2 * wire.RESPONSE_BYTES + 1))
    with pytest.raises(wire.Garbled, match="too many"):
        wire.decode_record(b"\x90" * (wire.MAX_PAGES * wire.PAGE_BYTES + 1))


MOST = wire.MAX_PAGES * wire.PAGE_BYTES
BOMBS = {
    "array of 4 G items": b"\xdd\xff\xff\xff\xff",
    "map of 4 G items": b"\xdf\xff\xff\xff\xff",
    "text of 4 GB": b"\xdb\xff\xff\xff\xff",
    "bytes of 4 GB": b"\xc6\xff\xff\xff\xff",
    "extension of 4 GB": b"\xc9\xff\xff\xff\xff\x01",
    "arrays in arrays": b"\x91" * 1200,
    "maps in maps": b"\x81\x01" * 600,
    "arrays as keys of maps": b"\x81" * 600,
    "arrays that announce as much as fits, in one another": b"\xdc\x02\x00" * 400,
    "the same, as long as a record": b"\xdc\x02\x00" * (MOST // 3),
    "arrays that announce the length of a record": b"\xdd" + (MOST - 1).to_bytes(4, "big"),
    "the same, in one another": (b"\xdc" + (MOST // 2).to_bytes(2, "big")) * 1000,
    "a record nested as deep as it goes": b"\x91" * MOST,
    "a time of the wrong length": b"\xc7\x03\xff\x01\x02\x03",
}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS.keys())
def test_bytes_that_announce_more_than_they_hold_cost_no_memory(bomb: bytes) -> None:
    for data in (bomb, b"\x93\x01\x01" + bomb):
        tracemalloc.start()
        try:
            assert only_garbled(data[:MOST])
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 8_000_000


# Reminders

REMINDERS = [bytes([at]) * REMINDER_BYTES for at in range(100)]


@given(some.messages, st.integers(0, 100), st.integers(0, wire.QUERY_BYTES))
def test_a_query_carries_as_many_reminders_as_fit_and_is_the_same_query(
    message: m.Message, count: int, most: int
) -> None:
    if isinstance(message, m.Announce):
        return
    data = wire.encode_reminding(message, REMINDERS[:count], most)
    decoded, reminders = wire.decode_reminding(data)
    assert decoded == message
    assert wire.decode_message(data) == message
    carried = [reminders[at : at + REMINDER_BYTES] for at in range(0, len(reminders), REMINDER_BYTES)]
    assert len(set(carried)) == len(carried)
    assert set(carried) <= set(REMINDERS[:count])
    alone = len(wire.encode(message))
    assert len(data) <= max(most, alone)
    if len(carried) < count:
        assert len(data) + REMINDER_BYTES > most - 3, "there was room for one more"


def test_over_some_attempts_every_voter_is_reminded() -> None:
    seen: set[bytes] = set()
    for attempt in range(256):
        query = m.Read(bytes([attempt]) * 8, ID, EPOCH, ROLE)
        _, reminders = wire.decode_reminding(wire.encode_reminding(query, REMINDERS))
        seen |= {reminders[at : at + REMINDER_BYTES] for at in range(0, len(reminders), REMINDER_BYTES)}
    assert seen == set(REMINDERS)


@pytest.mark.parametrize("reminders", [b"", b"x" * (REMINDER_BYTES + 1), "x" * REMINDER_BYTES, [], None, 16])
def test_reminders_that_are_none_are_garbled(reminders: object) -> None:
    query = m.Fetch(ID, DIGEST, 1)
    with pytest.raises(wire.Garbled):
        wire.decode_message(packed(wire.VERSION, 7, *query, reminders))


@pytest.mark.parametrize("kind", REPLY_KINDS)
def test_a_reply_has_no_reminders(kind: type) -> None:
    fields = msgpack.unpackb(wire.encode(LARGEST[kind]))
    with pytest.raises(wire.Garbled, match="fields"):
        wire.decode_reply(packed(*fields, b"x" * REMINDER_BYTES))
