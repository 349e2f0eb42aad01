"""What to do about voters of another epoch: hand them the record they lack, or learn the one we lack.

A voter speaks only in the epoch of the record it has entered. Told of a newer one it enters that; asked in an
older one it refuses and names its own. Records travel in pages, named by their digest; whoever passes one
on as chosen has it from somebody who has entered it, or saw it chosen.
"""

from __future__ import annotations

from polity_cli.core import messages as m
from polity_cli.core.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from polity_cli.core.electorate import Electorate

    class Codec(Protocol):
        """Records to bytes and back; `wire` is one. `decode_record` raises ValueError."""

        def encode_record(self, record: Electorate) -> bytes: ...
        def decode_record(self, data: bytes) -> Electorate: ...
        def digest(self, record: bytes) -> bytes: ...
        def pages(self, record: bytes) -> list[bytes]: ...
        def delta(self, base: bytes, record: bytes) -> bytes | None: ...


def offers(attempt: bytes, record: Electorate, codec: Codec, *, chosen: bool) -> tuple[m.Offer, ...]:
    """A record as messages to everybody; `chosen` only if it is known to be."""
    data = codec.encode_record(record)
    digest, pages = codec.digest(data), codec.pages(data)
    return tuple(m.Offer(attempt, digest, at, len(pages), page, chosen) for at, page in enumerate(pages))


def delta(
    attempt: bytes, base: Electorate, record: Electorate, codec: Codec, *, chosen: bool
) -> m.Delta | None:
    """A record in one message, to those that hold `base`; None where one page does, or it is too much."""
    new = codec.encode_record(record)
    if len(codec.pages(new)) == 1:
        return None
    old = codec.encode_record(base)
    data = codec.delta(old, new)
    return None if data is None else m.Delta(attempt, codec.digest(old), codec.digest(new), data, chosen)


class Learning(Record):
    """A record being fetched, page after page, from whoever answers; named by `digest`."""

    attempt: bytes
    digest: bytes
    pages: tuple[bytes, ...] = ()

    @property
    def message(self) -> m.Fetch:
        """Asks for the next page."""
        return m.Fetch(self.attempt, self.digest, len(self.pages))

    def take(self, reply: m.Reply, codec: Codec) -> Learning | Electorate | None:
        """What an answer makes of it: more of the record, all of it, or None if it is no answer to this.

        Raises ValueError if the pages make no record that can be read here.
        """
        if not isinstance(reply, m.Page) or reply.attempt != self.attempt or reply.digest != self.digest:
            return None
        if reply.page != len(self.pages) or not reply.pages:
            return None
        pages = (*self.pages, reply.data)
        if len(pages) < reply.pages:
            return self._replace(pages=pages)
        data = b"".join(pages)
        if codec.digest(data) != self.digest:
            return self._replace(pages=())
        return codec.decode_record(data)
