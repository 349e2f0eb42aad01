"""Histories that are true by construction, and a slow judge to compare the fast one with."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from polity_cli.core.operation import Purpose, Verdict
from tests.judging.operation import Effect, Operation

Role = tuple[int, str | None, bytes]


def apply(order: Operation, role: Role) -> tuple[Verdict, Role, str | None]:
    """What a single server that never fails does: outcome, the role after it, and whom a recall recalled."""
    term, holder, _ = role
    claim = order.claim or b""
    if order.purpose is Purpose.QUERY:
        return Verdict.ANSWER, role, None
    if order.purpose is Purpose.ELECT:
        if holder is None:
            return Verdict.WON, (term + 1, order.node, claim), None
        return (Verdict.HELD if holder == order.node else Verdict.LOST), role, None
    if holder is None:
        return Verdict.VACANT, role, None
    if order.guard_holder not in (None, holder) or order.guard_term not in (None, term):
        return Verdict.GUARD, role, None
    return Verdict.RECALLED, (term + 1, None, claim), holder


def play(
    rng: Random, *, count: int, clients: int, doubtful: float, claims: bool, guards: float = 0.2
) -> list[Operation]:
    """A history of `count` operations of `clients` nodes, up to as many at once, each with its one instant.

    A `doubtful` share has no verdict: a third of those took effect in time, a third after its end and a third
    never. As many again said `no quorum` and did nothing.
    """
    orders = []
    free_at = [rng.random() for _ in range(clients)]
    for number in range(count):
        client = min(range(clients), key=free_at.__getitem__)
        started = free_at[client] + 0.1 * rng.random()
        ended = started + 0.01 + rng.random()
        free_at[client] = ended
        orders.append(_draw(rng, number, f"n{client}", started, ended, claims, guards))
    instants: list[tuple[float, int, Verdict | None]] = []
    for at, order in enumerate(orders):
        instant = order.started + (order.ended - order.started) * (0.01 + 0.98 * rng.random())
        draw = rng.random()
        if draw < doubtful:
            late = order.ended + 3 * rng.random()
            instant = rng.choice((instant, late, float("inf")))
            instants.append((instant, at, Verdict.UNKNOWN))
        elif draw < 2 * doubtful:
            instants.append((float("inf"), at, Verdict.NO_QUORUM))
        else:
            instants.append((instant, at, None))
    role: Role = (0, None, b"")
    history = list(orders)
    for instant, at, hidden in sorted(instants, key=lambda i: i[:2]):
        order = orders[at]
        if hidden is not None:
            if instant != float("inf"):
                _, role, _ = apply(order, role)
            history[at] = order._replace(verdict=hidden)
            continue
        verdict, role, previous = apply(order, role)
        history[at] = order._replace(
            verdict=verdict,
            term=role[0],
            holder=role[1],
            previous_holder=previous,
            told_claim=role[2] if claims else None,
        )
    return history


def _draw(
    rng: Random, number: int, node: str, started: float, ended: float, claims: bool, guards: float
) -> Operation:
    purpose = rng.choice((Purpose.ELECT, Purpose.ELECT, Purpose.RECALL, Purpose.RECALL, Purpose.QUERY))
    guarded = purpose is Purpose.RECALL and rng.random() < guards
    return Operation(
        f"{purpose.value}{number}",
        "leader",
        purpose,
        node,
        started,
        ended,
        Verdict.UNKNOWN,
        guard_holder=rng.choice((None, "n0", "n1")) if guarded else None,
        guard_term=rng.choice((None, 1, 3)) if guarded else None,
        claim=str(number).encode() if claims else None,
    )


def has_an_order(history: Sequence[Operation]) -> bool:
    """Whether the operations may have happened one by one: by trying all orders, so for a handful of them."""
    entries = [o for o in history if o.verdict is not Verdict.NO_QUORUM]
    entries = [o for o in entries if o.tells or o.effect is Effect.UNKNOWN]
    must = {i for i, o in enumerate(entries) if o.tells}
    dead: set[tuple[frozenset[int], Role]] = set()

    def search(done: frozenset[int], role: Role) -> bool:
        if must <= done:
            return True
        if (done, role) in dead:
            return False
        waiting = [i for i in range(len(entries)) if i not in done]
        deadline = min(entries[i].ended for i in waiting if i in must)
        for i in waiting:
            after = _after(entries[i], role) if entries[i].started < deadline else None
            if after is not None and search(done | {i}, after):
                return True
        dead.add((done, role))
        return False

    return search(frozenset(), (0, None, b""))


def _after(operation: Operation, role: Role) -> Role | None:
    """The role after this operation did what it says on `role`; None if it cannot have."""
    verdict, after, previous = apply(operation, role)
    if not operation.tells:
        return after if verdict in (Verdict.WON, Verdict.RECALLED) else None
    told = (operation.verdict, operation.term, operation.holder, operation.previous_holder)
    if told != (verdict, after[0], after[1], previous):
        return None
    if operation.told_claim is not None and operation.told_claim != after[2]:
        return None
    return after
