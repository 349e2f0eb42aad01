"""Messages to bytes and back: msgpack, versioned, every field checked, every size known.

A message is one msgpack array, `[version, kind, field, field, ...]`, which delimits itself: Serf adds a new
line to what a hook reads. Whatever is not exactly such an array raises `Garbled` and touches nothing.
A query may have one field more, which reminds voters of what they have shown (`core/witness.py`).
An electorate's record has an encoding of its own, with a digest that names it, and travels in pages.

Sizes are in bytes. Of the 1,024 that Serf carries (512 of a user event) its own part goes off, in which names
count: in a namespace of 32, filtered by a tag, a query from a node of 128 has 677 left for us, a response
that is relayed between two such nodes 658, a user event 448.
"""

from __future__ import annotations

import msgpack

from polity_cli.core import messages as m
from polity_cli.core.ballot import FAST, ID_BYTES, MAX_ROUND, Ballot
from polity_cli.core.electorate import Electorate, Enrolled, Roll, is_joint_epoch
from polity_cli.core.quorum import QuorumRule, classic_quorum
from polity_cli.core.slot import MAX_SLOT_BYTES, NO_SLOT, is_plain
from polity_cli.core.tenure import MAX_NODE_BYTES, MAX_ROLE_BYTES, MAX_TERM, Tenure
from polity_cli.core.witness import REMINDER_BYTES
from polity_cli.errors import BadInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

VERSION = 3
RECORD_VERSION = 1
"""Of its own: a record is named by the digest of its bytes, which must stay what they are."""
QUERY_BYTES = 670
RESPONSE_BYTES = 650
EVENT_BYTES = 440
PAGE_BYTES = 512
MAX_PAGES = 160
"""Enough for the largest record: joint, twice MAX_VOTERS with names of 128 bytes, some 72,000 bytes."""
MAX_VOTERS = 255
DIGEST_BYTES = 16

# msgpack makes room for as many items as an array announces, at each of up to 1,024 levels, before it has
# seen one of them; ours have 302 at most (the shortest names of roles that fit a response).
_MAX_ITEMS = 512

_ID_SIZES = (0, ID_BYTES)
_AFTER_SIZES = (0, ID_BYTES, 2 * ID_BYTES)


class Garbled(ValueError):
    """The bytes are no message of this version; the text says what is wrong with them."""


class FutureVersion(Garbled):
    """The bytes are a message of a version this program does not speak."""


def _whole(value: object, most: int) -> int:
    if type(value) is not int or not 0 <= value <= most:
        raise Garbled(f"a number from 0 to {most} was expected")
    return value


def _bytes(value: object, *sizes: int) -> bytes:
    if type(value) is not bytes or len(value) not in sizes:
        raise Garbled(f"{' or '.join(map(str, sizes))} bytes were expected")
    return value


def _text(value: object, least: int, most: int) -> str:
    if type(value) is not str or not least <= len(value.encode()) <= most:
        raise Garbled(f"a text of {least} to {most} bytes was expected")
    return value


def _array(value: object, *sizes: int) -> list[object]:
    if type(value) is not list or (sizes and len(value) not in sizes):
        raise Garbled("an array of another length was expected")
    return value


def _id(value: object) -> bytes:
    if type(value) is bytes and len(value) == ID_BYTES:
        return value
    raise Garbled(f"{ID_BYTES} bytes were expected")


def _id_or_none(value: object) -> bytes:
    if type(value) is bytes and len(value) in _ID_SIZES:
        return value
    raise Garbled(f"0 or {ID_BYTES} bytes were expected")


def _digest(value: object) -> bytes:
    return _bytes(value, 0, DIGEST_BYTES)


def _epoch(value: object) -> int:
    return _whole(value, 2**32)


def _serial(value: object) -> int:
    return _whole(value, m.MAX_SERIAL)


def _small(value: object) -> int:
    return _whole(value, 255)


def _role(value: object) -> str:
    return _text(value, 0, MAX_ROLE_BYTES)


def _node(value: object) -> str:
    return _text(value, 1, MAX_NODE_BYTES)


def _flag(value: object) -> bool:
    if type(value) is not bool:
        raise Garbled("true or false was expected")
    return value


def _page(value: object) -> bytes:
    if type(value) is not bytes or len(value) > PAGE_BYTES:
        raise Garbled(f"at most {PAGE_BYTES} bytes were expected")
    return value


# The two shapes that most of a message consists of are tested as wholes first, which is twice as fast; what
# is not as it should be is looked at again, field by field, to say what is wrong.


def _ballot(value: object) -> Ballot:
    if (
        type(value) is list
        and len(value) == 3
        and type(number := value[0]) is int
        and 0 <= number <= MAX_ROUND
        and type(proposer := value[1]) is bytes
        and len(proposer) in _ID_SIZES
        and type(kind := value[2]) is int
        and 0 <= kind <= FAST
    ):
        return Ballot(number, proposer, kind)
    number, proposer, kind = _array(value, 3)
    return Ballot(_whole(number, MAX_ROUND), _id_or_none(proposer), _whole(kind, FAST))


def _tenure(value: object) -> Tenure:
    if (
        type(value) is list
        and len(value) == 6
        and type(term := value[0]) is int
        and 0 <= term <= MAX_TERM
        and ((holder := value[1]) is None or (type(holder) is str and 0 < len(holder) <= MAX_NODE_BYTES // 4))
        and type(claim := value[2]) is bytes
        and len(claim) in _ID_SIZES
        and type(after := value[3]) is bytes
        and len(after) in _AFTER_SIZES
        and value[4] == value[5] == NO_SLOT
    ):
        return Tenure(term, holder, claim, after)
    term, holder, claim, after, slot, after_slot = _array(value, 6)
    who = None if holder is None else _node(holder)
    before = _bytes(after, *_AFTER_SIZES)
    return Tenure(_whole(term, MAX_TERM), who, _id_or_none(claim), before, _slot(slot), _slot(after_slot))


def _slot(value: object) -> str:
    slot = _text(value, 0, MAX_SLOT_BYTES)
    if not is_plain(slot):
        raise Garbled("a slot has letters, digits and few other characters")
    return slot


def _roles(value: object) -> tuple[str, ...]:
    return tuple(_role(role) for role in _array(value))


_ROLE_HEAD = (_id, _id_or_none, _epoch, _role)
_REPLY_HEAD = (_id, _id, _id_or_none, _epoch)

_SHAPES: dict[int, tuple[type, tuple[Callable[[object], object], ...]]] = {
    1: (m.Read, _ROLE_HEAD),
    2: (m.Prepare, (*_ROLE_HEAD, _ballot)),
    3: (m.Accept, (*_ROLE_HEAD, _ballot, _tenure)),
    4: (m.Stand, (*_ROLE_HEAD, _ballot, _tenure, _tenure, _ballot)),
    5: (m.Announce, (_id_or_none, _epoch, _role, _ballot, _tenure)),
    6: (m.Offer, (_id, _digest, _small, _small, _page, _flag)),
    7: (m.Fetch, (_id, _digest, _small)),
    8: (m.ListRoles, (_id, _id_or_none, _epoch, _role)),
    9: (m.Delta, (_id, _digest, _digest, _page, _flag)),
    33: (m.State, (*_REPLY_HEAD, _ballot, _ballot, _tenure, _ballot, _tenure, _serial)),
    34: (m.Refusal, (*_REPLY_HEAD, _digest, _small, _serial)),
    35: (m.Page, (*_REPLY_HEAD, _digest, _small, _small, _page, _serial)),
    36: (m.Holding, (*_REPLY_HEAD, _digest, _flag, _serial)),
    37: (m.RoleList, (*_REPLY_HEAD, _roles, _flag, _serial)),
}
_KINDS = {shape: kind for kind, (shape, _) in _SHAPES.items()}
_FIRST_REPLY = 33


def encode(message: m.Message | m.Reply, reminders: Sequence[bytes] = ()) -> bytes:
    """The bytes of a message or a reply; a reply's kind is 33 or above, and has no `reminders`."""
    more = [b"".join(reminders)] if reminders else []
    data: bytes = msgpack.packb([VERSION, _KINDS[type(message)], *message, *more])
    limit = EVENT_BYTES if isinstance(message, m.Announce) else QUERY_BYTES
    if _KINDS[type(message)] >= _FIRST_REPLY:
        limit = RESPONSE_BYTES
    if len(data) > limit:
        raise ValueError(f"{len(data)} bytes, {limit} at most: {m.describe(message)}")
    return data


def encode_reminding(query: m.Query, reminders: Sequence[bytes], most: int = QUERY_BYTES) -> bytes:
    """The bytes of a query and of as many reminders as fit in `most`; which ones its attempt decides."""
    data = encode(query)
    # In front of them msgpack puts three bytes.
    room = min((most - len(data) - 3) // REMINDER_BYTES, len(reminders))
    if room <= 0:
        return data
    first = query.attempt[0] % len(reminders)
    return encode(query, [*reminders[first:], *reminders[:first]][:room])


def decode_message(data: bytes) -> m.Message:
    """The query or announcement in these bytes; raises Garbled."""
    return decode_reminding(data)[0]


def decode_reminding(data: bytes) -> tuple[m.Message, bytes]:
    """The query or announcement in these bytes, and its reminders; raises Garbled."""
    kind, message, reminders = _decode(data)
    if kind >= _FIRST_REPLY:
        raise Garbled("a reply came where a query was expected")
    return message, reminders  # type: ignore[return-value]


def decode_reply(data: bytes) -> m.Reply:
    """The reply in these bytes; raises Garbled."""
    kind, message, _ = _decode(data)
    if kind < _FIRST_REPLY:
        raise Garbled("a query came where a reply was expected")
    return message  # type: ignore[return-value]


def _decode(data: bytes) -> tuple[int, object, bytes]:
    fields = _array(_unpack(data))
    if len(fields) < 2:
        raise Garbled("not a message of polity")
    version, kind, *values = fields
    _check_version(version, VERSION, "a message")
    if type(kind) is not int or kind not in _SHAPES:
        raise Garbled("a message of a kind unknown here")
    shape, checks = _SHAPES[kind]
    reminders = b""
    if len(values) == len(checks) + 1 and kind < _FIRST_REPLY:
        reminders = _reminders(values.pop())
    if len(values) != len(checks):
        raise Garbled(f"{shape.__name__} has {len(checks)} fields, not {len(values)}")
    return kind, shape(*[check(value) for check, value in zip(checks, values, strict=True)]), reminders


def _reminders(value: object) -> bytes:
    if type(value) is not bytes or not value or len(value) % REMINDER_BYTES:
        raise Garbled(f"{REMINDER_BYTES} bytes for each of some reminders were expected")
    return value


def _check_version(version: object, spoken: int, what: str) -> None:
    if type(version) is not int or version < 1:
        raise Garbled(f"not {what} of polity")
    if version < spoken:
        raise Garbled(f"{what} of version {version}; this program speaks version {spoken}")
    if version > spoken:
        raise FutureVersion(f"{what} of version {version}; this program speaks version {spoken}")


def _unpack(data: bytes, most: int = 2 * RESPONSE_BYTES) -> object:
    """Exactly one msgpack value, and at most the new line Serf adds."""
    if len(data) > most:
        raise Garbled(f"{len(data)} bytes are too many for a message")
    try:
        value = msgpack.unpackb(
            data,
            max_array_len=_MAX_ITEMS,
            max_map_len=_MAX_ITEMS,
            use_list=True,
            raw=False,
            strict_map_key=False,
        )
    except msgpack.ExtraData as error:
        if error.extra != b"\n":
            raise Garbled("something follows the message") from None
        value = error.unpacked
    # What msgpack raises for bytes that are no msgpack is a family without a common base.
    except Exception as error:  # noqa: BLE001
        raise Garbled(f"not msgpack ({type(error).__name__})") from None
    return value


def encode_record(record: Electorate) -> bytes:
    """The one encoding of an electorate's record: equal records have equal bytes. Raises Garbled for a
    record that nobody could decode, such as one with too many voters."""
    data = _pack_record(record)
    decode_record(data)
    return data


def _pack_record(record: Electorate) -> bytes:
    rolls = [
        [[[e.voter, e.node] for e in roll.voters], roll.rule.millionths, roll.rule.min_votes]
        for roll in record.rolls
    ]
    data: bytes = msgpack.packb([RECORD_VERSION, record.polity, record.epoch, rolls])
    return data


def decode_record(data: bytes) -> Electorate:
    """The record in these bytes; raises Garbled, also for voters twice or out of order and unsafe rules."""
    fields = _array(_unpack(data, MAX_PAGES * PAGE_BYTES))
    _check_version(fields[0] if fields else None, RECORD_VERSION, "an electorate's record")
    _, polity, epoch, rolls = _array(fields, 4)
    record = Electorate(_id(polity), _epoch(epoch), tuple(_roll(roll) for roll in _array(rolls, 1, 2)))
    if not record.epoch or record.is_joint != is_joint_epoch(record.epoch):
        raise Garbled("the epochs of records begin with 1, and only even ones are joint")
    if _pack_record(record) != data:
        raise Garbled("not the one encoding of this record")
    return record


def _roll(value: object) -> Roll:
    voters, millionths, min_votes = _array(value, 3)
    enrolled = []
    for entry in _array(voters):
        voter, node = _array(entry, 2)
        enrolled.append(Enrolled(_id(voter), _node(node)))
    if (
        not enrolled
        or len(enrolled) > MAX_VOTERS
        or sorted({e.voter for e in enrolled}) != [e.voter for e in enrolled]
    ):
        raise Garbled("an electorate lists 1 to 255 voters, each once, in order")
    rule = QuorumRule(_whole(millionths, 1_000_000), _small(min_votes))
    try:
        classic_quorum(len(enrolled), rule)
    except BadInput as error:
        raise Garbled(f"an electorate with an unsafe rule: {error}") from None
    return Roll(tuple(enrolled), rule)


def digest(record: bytes) -> bytes:
    """The name of an encoded record: the first 16 bytes of its SHA-256."""
    import hashlib  # costs more than the rest of this room, and only foundings and changes need it

    return hashlib.sha256(record).digest()[:DIGEST_BYTES]


def delta(base: bytes, record: bytes) -> bytes | None:
    """An encoded record as what it takes from another, if that fits a message."""
    from polity_cli.edges.delta import delta_of

    data = delta_of(base, record)
    return data if len(data) <= PAGE_BYTES else None


def pages(record: bytes) -> list[bytes]:
    """An encoded record in pieces that fit a message."""
    return [record[at : at + PAGE_BYTES] for at in range(0, len(record), PAGE_BYTES)]
