"""An electorate's record as what it takes from another one, which voters hold already.

Records of a hundred voters differ by a voter or two, and a joint one names nearly everybody twice. A delta is
a msgpack array of pieces: bytes to add, and places `[at, length]` to copy from the other record. What comes
of it is known by its digest, so a delta need not be trusted.
"""

from __future__ import annotations

import msgpack

from polity_cli.edges.wire import MAX_PAGES, PAGE_BYTES, Garbled

_LEAST = 8
"""Copying fewer bytes saves nothing."""


def delta_of(base: bytes, data: bytes) -> bytes:
    """What makes `data` of `base`, not always the shortest."""
    places: dict[bytes, int] = {}
    for at in range(len(base) - _LEAST, -1, -1):
        places[base[at : at + _LEAST]] = at
    pieces: list[bytes | list[int]] = []
    added = at = 0
    while at < len(data):
        found = places.get(data[at : at + _LEAST])
        if found is None:
            at += 1
            continue
        length = _LEAST
        while (
            at + length < len(data)
            and found + length < len(base)
            and data[at + length] == base[found + length]
        ):
            length += 1
        if added < at:
            pieces.append(data[added:at])
        pieces.append([found, length])
        added = at = at + length
    if added < at:
        pieces.append(data[added:])
    packed: bytes = msgpack.packb(pieces)
    return packed


def apply(base: bytes, delta: bytes) -> bytes:
    """What a delta makes of `base`; raises Garbled for one that makes no sense, or too much."""
    try:
        pieces = msgpack.unpackb(delta, max_array_len=PAGE_BYTES)
    except Exception as error:  # noqa: BLE001 - what msgpack raises is a family without a common base
        raise Garbled(f"not a delta ({type(error).__name__})") from None
    if type(pieces) is not list:
        raise Garbled("not a delta")
    made = bytearray()
    for piece in pieces:
        match piece:
            case bytes():
                made += piece
            case [int(at), int(length)] if at >= 0 and length > 0 and at + length <= len(base):
                made += base[at : at + length]
            case _:
                raise Garbled("a delta with a piece that is not there")
        if len(made) > MAX_PAGES * PAGE_BYTES:
            raise Garbled("a delta that makes too much")
    return bytes(made)
