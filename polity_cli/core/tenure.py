"""Tenures, the values of a role, and the names a role may have.

A role's chosen tenures form one chain: vacant term 0, filled term 1, vacant term 2, ... Each names (`after`)
the claim of the one before, so that an operation that comes too late can tell whose term it was. A filled
tenure also has what else the vacancy had that it fills, so that whoever sees only votes for it can still
write that vacancy down exactly as it was decided.
"""

from __future__ import annotations

from polity_cli.core.ballot import ID_BYTES
from polity_cli.core.record import Record
from polity_cli.core.slot import NO_SLOT, is_after
from polity_cli.errors import BadInput

MAX_ROLE_BYTES = 128
MAX_NODE_BYTES = 128
MAX_TERM = 2**62

ELECTORATE = ""
"""The name of the register that holds the electorate's record; no role can have it."""


class Tenure(Record):
    """`term` is the fencing token; `holder` a node name, or None where vacant; `claim` the operation's id.

    `after` begins with the claim of the tenure before; in a filled one what that vacancy has there follows.
    `slot` is the newest that the role was filled for, now or before; see `slot.py`.
    """

    term: int
    holder: str | None
    claim: bytes
    after: bytes = b""
    slot: str = NO_SLOT
    after_slot: str = NO_SLOT

    @property
    def is_vacant(self) -> bool:
        return self.holder is None

    def filled_by(self, node: str, claim: bytes, slot: str = NO_SLOT) -> Tenure:
        """The next tenure, in which `node` holds the role that is vacant in this one, for `slot` if any."""
        after = self.claim + self.after
        return Tenure(self.term + 1, node, claim, after, slot or self.slot, self.slot)

    def emptied(self, claim: bytes) -> Tenure:
        """The next tenure, in which nobody holds the role."""
        return Tenure(self.term + 1, None, claim, self.claim, self.slot)

    def vacancy_before(self) -> Tenure:
        """The vacancy that this filled tenure fills."""
        return Tenure(self.term - 1, None, self.claim_before, self.after[ID_BYTES:], self.after_slot)

    @property
    def claim_before(self) -> bytes:
        """The claim of the tenure before this one; empty for the first vacancy and where it is not known."""
        return self.after[:ID_BYTES]

    def has_had(self, slot: str) -> bool:
        """True if the role was filled for this slot, or for one after it, already; of no slot it never is."""
        return slot != NO_SLOT and not is_after(slot, self.slot)

    def __str__(self) -> str:
        return f"term {self.term} vacant" if self.holder is None else f"term {self.term} {self.holder}"


VACANT = Tenure(0, None, b"")
"""The tenure of a role that nobody ever stood for."""


def check_name(name: str, what: str, max_bytes: int) -> str:
    """Return `name` unchanged, or raise BadInput saying what is wrong with it."""
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise BadInput(
            f"the {what} is not valid UTF-8: {name!a}",
            hint="use a UTF-8 locale, or plain ASCII letters",
        ) from None
    if not size:
        raise BadInput(
            f"the {what} is empty", hint=f"give a name of 1 to {max_bytes} bytes, such as 'backup'"
        )
    if size > max_bytes:
        raise BadInput(
            f"the {what} is {size} bytes long, {max_bytes} at most: {name[:40]!r}...",
            hint="choose a shorter name; keep the details in your own records",
        )
    if any(c < " " or "\x7f" <= c <= "\x9f" for c in name):
        raise BadInput(
            f"the {what} contains a control character: {name!r}",
            hint="letters, digits, punctuation and inner blanks are fine; new lines and tabs are not",
        )
    if name != name.strip():
        raise BadInput(
            f"the {what} begins or ends with a blank: {name!r}",
            hint="blanks are allowed inside a name only",
        )
    return name


def check_role(name: str) -> str:
    """Return a usable role name unchanged; raises BadInput."""
    return check_name(name, "role name", MAX_ROLE_BYTES)
