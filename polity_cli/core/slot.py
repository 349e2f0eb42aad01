"""Slots: occasions of which a role is given out once each, such as the times of a cron line.

A tenure carries the newest slot that the role was ever filled for, through vacancies too. Whoever stands for
a slot wins only if it comes after that one, so each is had once, by whichever node decided it first, however
short its tenure was and whatever clocks say.

Slots are compared piece by piece: digits as numbers, everything else as text. `2026-W9` comes before
`2026-W48`, and `build-7` before `build-12`.
"""

from __future__ import annotations

from polity_cli.errors import BadInput

MAX_SLOT_BYTES = 32
NO_SLOT = ""
"""Of a role that was filled for none; every slot comes after it."""

_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._:+/@,=")


def check_slot(slot: str) -> str:
    """Return a usable slot unchanged; raises BadInput."""
    if not slot or len(slot) > MAX_SLOT_BYTES or not is_plain(slot):
        raise BadInput(
            f"not a slot: {slot[:40]!r}",
            hint=f"1 to {MAX_SLOT_BYTES} letters, digits and characters of -._:+/@,= such as 2026-11-24; "
            "each slot must come after the one before, where digits count as numbers",
        )
    return slot


def is_plain(slot: str) -> bool:
    """True if the slot has none but the characters that slots are made of."""
    return _PLAIN.issuperset(slot)


def is_after(slot: str, other: str) -> bool:
    """True if `slot` comes after `other`; of two different slots, one comes after the other."""
    return (_pieces(slot), slot) > (_pieces(other), other)


def _pieces(slot: str) -> list[tuple[bool, int, str]]:
    pieces: list[tuple[bool, int, str]] = []
    at = 0
    while at < len(slot):
        is_number = slot[at].isdigit()
        end = at + 1
        while end < len(slot) and slot[end].isdigit() == is_number:
            end += 1
        text = slot[at:end]
        pieces.append((is_number, int(text), "") if is_number else (is_number, 0, text))
        at = end
    return pieces
