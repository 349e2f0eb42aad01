"""Serf's RPC as bytes: msgpack in, msgpack out, and what may go in and out.

Every message is a bare msgpack map, the header, and perhaps a second bare value, the body. Nothing marks
where a message ends, and nothing in a header tells whether a body follows; that is `serf_stream`'s business.
`Decoder` cuts any split of the byte stream into values, and refuses what no Serf agent would send before it
costs memory: the first byte must open a map, and lengths, nesting and buffer are limited.

Text is UTF-8 by habit, not by promise: other bytes survive as surrogates and go back unchanged.
"""

from __future__ import annotations

import msgpack

from polity_cli.errors import BadInput, SerfProtocolError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# An answer about 50,000 members with full tags fits. A list is allocated when its length is read, before
# its items come, so the longest list times msgpack's own depth limit (1,024) must stay affordable.
MAX_ANSWER_BYTES = 32 * 1024 * 1024
MAX_TEXT_BYTES = 16 * 1024 * 1024
MAX_ITEMS = 1 << 16

UINT64_MAX = (1 << 64) - 1


class Decoder:
    """Cuts one connection's bytes into msgpack values, whatever the segments they come in."""

    def __init__(self) -> None:
        self._fresh = True
        self._unpacker = msgpack.Unpacker(
            raw=False,
            unicode_errors="surrogateescape",
            strict_map_key=False,
            max_buffer_size=MAX_ANSWER_BYTES,
            max_str_len=MAX_TEXT_BYTES,
            max_bin_len=MAX_TEXT_BYTES,
            max_array_len=MAX_ITEMS,
            max_map_len=MAX_ITEMS,
            max_ext_len=1024,
        )

    def feed(self, data: bytes) -> Iterator[object]:
        """Give the values that these bytes complete; raises SerfProtocolError after the last good one."""
        if self._fresh and data:
            self._fresh = False
            # Answered at once, because HTTP, SSH or TLS may open what msgpack reads as a long string
            # and would wait for until the time is up.
            if not (0x80 <= data[0] <= 0x8F or data[0] in (0xDE, 0xDF)):
                raise SerfProtocolError(f"not Serf's RPC: the first bytes are {data[:24]!r}")
        try:
            self._unpacker.feed(data)
            yield from self._unpacker
        except (msgpack.UnpackException, ValueError, TypeError, OverflowError, RecursionError) as error:
            reason = str(error) or type(error).__name__
            raise SerfProtocolError(f"not Serf's RPC: undecodable msgpack ({reason[:120]})") from None


def encode(*values: object) -> bytes:
    """The values one after the other as msgpack; raises BadInput for what msgpack cannot carry."""
    try:
        return b"".join(msgpack.packb(value, unicode_errors="surrogateescape") for value in values)
    except (TypeError, ValueError, OverflowError) as error:
        raise BadInput(f"cannot be sent to Serf: {error}") from None


def parse_header(value: object) -> tuple[int, str] | None:
    """`(seq, error)` if the value is a header, else None. No body of any command looks like a header."""
    if type(value) is dict:
        seq, error = value.get("Seq"), value.get("Error")
        if type(seq) is int and seq >= 0 and type(error) is str:
            return seq, error
    return None


# What goes the other way. A typo or a wrong type in a request is silent or closes the connection, so it is
# caught here, where the caller can still be told which argument it was.


def check_text(name: str, value: object) -> str:
    """The value if it is text; raises BadInput."""
    if type(value) is str:
        return value
    if isinstance(value, str):
        return str(value)
    raise BadInput(f"{name} must be text, not {type(value).__name__}")


def check_bytes(name: str, value: object) -> bytes:
    """The value as bytes; raises BadInput, above all for text, whose encoding is the caller's to choose."""
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    raise BadInput(f"{name} must be bytes, not {type(value).__name__}")


def check_texts(name: str, values: Iterable[str]) -> list[str]:
    """A list of texts; raises BadInput, also for a lone text, which would fall apart into letters."""
    if isinstance(values, str | bytes):
        raise BadInput(f"{name} must be several texts, not one")
    try:
        texts = list(values)
    except TypeError:
        raise BadInput(f"{name} must be several texts, not {type(values).__name__}") from None
    return [check_text(f"each of {name}", value) for value in texts]


def check_text_map(name: str, values: dict[str, str] | None) -> dict[str, str]:
    """A dict from text to text, empty for None; raises BadInput."""
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise BadInput(f"{name} must be a dict, not {type(values).__name__}")
    return {
        check_text(f"a name in {name}", key): check_text(f"{name} {key!r}", text)
        for key, text in values.items()
    }


def check_int(name: str, value: object, low: int, high: int) -> int:
    """The value if it is an int in low..high; raises BadInput."""
    if type(value) is int and low <= value <= high:
        return value
    raise BadInput(f"{name} must be a whole number from {low} to {high}, not {value!r}")


def check_bool(name: str, value: object) -> bool:
    """The value if it is a bool; raises BadInput."""
    if type(value) is bool:
        return value
    raise BadInput(f"{name} must be true or false, not {value!r}")
