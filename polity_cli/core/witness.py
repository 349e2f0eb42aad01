"""Which ledgers were set back: what one asker knows of the serials that voters have shown it.

Every ledger has a serial, which grows by a random step in the transaction of each change, and every answer
shows it. An answer is proof that the ledger behind it was set back (an old copy, a snapshot, a volume rolled
back) if its serial is lower than one that the same voter had shown *before the question was first asked*:

- a serial is on the disk before any answer shows it, as save comes before speak, and it only grows;
- each question has a random id, which its answers repeat: whoever answers it had it, so the answer was made
  after the asking, and shows a serial no lower than any that was shown before.

So a voter whose ledger was never set back cannot be refused, whatever a network loses, doubles, delays or
puts in another order: answers to one question are never compared with each other, and answers to earlier
questions prove nothing. A serial is known of a voter's id *on a node*: what a copy of a ledger elsewhere
shows says nothing of the original.

A ledger that was set back goes on changing, and its serial may be higher again before it is asked by somebody
who knew better. So each question also *reminds* the voters of a serial that each has shown, of as many as
there is room for. A ledger keeps its latest serials. Since steps are random, one that was set back does not
come by the same ones again: reminded of a serial that is above its own, or not among its own although it has
kept those of that time, the voter knows what happened, remembers it durably and takes part in nothing any
more. A serial it is reminded of was on its disk before the question was sent, so here, too, a voter whose
ledger was never set back is safe.

Once found set back, a voter is refused for good, also when its serial has grown beyond what was seen: what
it has forgotten does not come back. Nor would the newer ledger help, which lacks what the older one has said
meanwhile. The way out is another ledger, which is another voter.

What is known is as much as was asked: a set back that nobody has seen the other side of goes unnoticed.
"""

from __future__ import annotations

from polity_cli.core import messages
from polity_cli.core.messages import MAX_SERIAL, Refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from polity_cli.core.messages import Reply

    Source = tuple[str, bytes]
    """A node's name and the id of the voter that answers there."""

SET_BACK = MAX_SERIAL + 1
"""What is remembered of a voter found set back: no serial is as high."""

REMINDER_BYTES = 16
_TAG_BYTES = 8
_PRIME = 2**61 - 1


def reminder(source: Source, serial: int) -> bytes:
    """The bytes that remind the voter with this id on this node of a serial it has shown."""
    return _tag(source) + serial.to_bytes(REMINDER_BYTES - _TAG_BYTES)


def reminded_of(source: Source, reminders: bytes) -> Iterator[int]:
    """The serials that are meant for this voter; `reminders` are whole ones, one behind the other."""
    tag = _tag(source)
    for at in range(0, len(reminders), REMINDER_BYTES):
        if reminders.startswith(tag, at):
            yield int.from_bytes(reminders[at + _TAG_BYTES : at + REMINDER_BYTES])


def _tag(source: Source) -> bytes:
    """Few bytes for both, since a copy of the ledger on another node is not meant; nothing to import."""
    node, voter = source
    return (int.from_bytes(voter + node.encode()) % _PRIME).to_bytes(_TAG_BYTES)


class Witness:
    """The serials seen by one asker, on top of those `remembered` from before. Not to be shared by threads.

    `set_back` are the nodes found set back while this witness listened, with their voters' ids.
    """

    def __init__(self, remembered: Mapping[Source, int]) -> None:
        self._remembered = remembered
        # Replaced when something grows, never changed in place: each question keeps what was known before it.
        self._known = dict(remembered)
        self._before: dict[bytes, dict[Source, int]] = {}
        self.set_back: dict[str, bytes] = {}

    def asked(self, question: bytes) -> None:
        """A question with this id is about to go out, for the first time or again."""
        self._before.setdefault(question, self._known)

    def hear(self, node: str, reply: Reply) -> bool:
        """Take an answer; False if its ledger was set back: then nothing in it may count."""
        source = (node, reply.voter)
        if (
            reply.serial < self._before.get(reply.attempt, {}).get(source, 0)
            or (isinstance(reply, Refusal) and reply.reason == messages.SET_BACK)
            or self.refuses(*source)
        ):
            self.set_back[node] = reply.voter
            self._learn(source, SET_BACK)
            return False
        self._learn(source, reply.serial)
        return True

    def refuses(self, node: str, voter: bytes) -> bool:
        """True if this voter was found set back, now or before."""
        return self._known.get((node, voter), 0) == SET_BACK

    def reminders(self) -> list[bytes]:
        """What voters are to be reminded of, each of the highest serial it has shown here."""
        return [reminder(s, serial) for s, serial in self._known.items() if 0 < serial < SET_BACK]

    def news(self) -> dict[Source, int]:
        """What is to be remembered beyond what was."""
        return {
            source: serial
            for source, serial in self._known.items()
            if serial > self._remembered.get(source, 0)
        }

    def _learn(self, source: Source, serial: int) -> None:
        if serial > self._known.get(source, 0):
            self._known = {**self._known, source: serial}


def way_out(nodes: Iterable[str]) -> str:
    """What happened to these nodes' ledgers, and what to do about it."""
    names = sorted(nodes)
    what = "its ledger was set back to an older state: its vote is refused"
    if len(names) > 1:
        what = "their ledgers were set back to older states: their votes are refused"
    return (
        f"{', '.join(names)}: {what}. Stop the voter there, move its ledger away and start it again: it "
        f"comes back as another voter, which `polity voters add {' '.join(names)}` enrols; agents do so by "
        "themselves"
    )
