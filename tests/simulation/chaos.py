"""Random schedules: one seed makes one schedule, the same every time.

A schedule starts a handful of operations on random nodes and then does, in random order, everything the
network and the processes may do: deliver any parcel under way, early or late; lose it, or leave a copy;
cut links for a while; crash voters before or after they saved; stop operations, let them give up, wake
them too early. How often each happens is drawn per schedule (its `Weather`), so that calm and stormy ones
both occur. At the end comes a calm with a bare quorum alive, in which a query and an election must end.
"""

from __future__ import annotations

from random import Random
from typing import NamedTuple

from polity_cli.core.candidacy import Outcome, Pace, Phase, Purpose, Verdict
from tests.simulation.judge import Violation
from tests.simulation.world import SHAPES, Chance, Kind, Operation, World

CALM_ROUND_TRIPS = 8
"""More than a lone operation ever needs with a quorum alive: three looks, a stand, two ballots."""


class Weather(NamedTuple):
    """Probabilities, but `steps` and `ops`."""

    steps: int
    ops: int
    start: float
    recall: float
    query: float
    stale_hint: float
    wake: float
    stop: float
    burst: float
    gossip: float
    reach: float
    back: float
    cut: float
    loss: float
    double: float
    crash: float
    mislaid: float
    recent: float
    looks: int

    @classmethod
    def draw(cls, rng: Random) -> Weather:
        some = rng.choice
        return cls(
            steps=rng.randrange(20, 90),
            ops=rng.randrange(2, 6),
            start=some((0.05, 0.1, 0.3)),
            recall=some((0.2, 0.35, 0.5)),
            query=some((0, 0.1, 0.3)),
            stale_hint=some((0, 0, 0.5)),
            wake=some((0.02, 0.05, 0.15)),
            stop=some((0, 0, 0.01, 0.03)),
            burst=some((0, 0.4, 0.8)),
            gossip=some((0, 0.1, 0.3)),
            reach=some((0.5, 0.7, 0.9)),
            back=some((0.5, 0.8, 1.0)),
            cut=some((0, 0, 0.2, 0.4)),
            loss=some((0, 0, 0.05, 0.2)),
            double=some((0, 0.05, 0.3)),
            crash=some((0, 0, 0.05)),
            mislaid=some((0, 0, 0.1)),
            recent=some((0, 0.5, 0.9)),
            looks=some((1, 1, 3)),
        )


def schedule(seed: int, shape: str, *, transcript: bool = False) -> World:
    """Run one schedule and judge it. Raises Violation; returns the world for those who want to look at it."""
    rng = Random(seed)
    world = World(SHAPES[shape], Chance(lambda: rng.randbytes(8), rng.random))
    if transcript:
        world.transcript = []
    try:
        _storm(world, Weather.draw(rng), rng)
        _calm(world, rng)
        world.judge()
    except Violation as violation:
        violation.add_note(f"replay: python -m tests.simulation {seed} {shape}")
        if world.transcript is not None:
            violation.add_note("\n".join(world.transcript))
        raise
    return world


def _storm(world: World, weather: Weather, rng: Random) -> None:
    n = world.shape.n
    cut: set[tuple[Operation, int]] = set()
    for step in range(weather.steps):
        if weather.cut and step % 12 == 0:
            cut_off = {v for v in range(n) if rng.random() < weather.cut / 2}
            cut = {
                (op, v) for op in world.ops for v in range(n) if v in cut_off or rng.random() < weather.cut
            }
        draw = rng.random()
        active = [op for op in world.ops if op.is_active]
        if len(world.ops) < weather.ops and (draw < weather.start or not active):
            _start(world, weather, rng)
        elif active and draw < weather.start + weather.wake:
            _poke(world, rng.choice(active), rng)
        elif active and draw < weather.start + weather.wake + weather.stop:
            end = rng.choice((world.stop, world.give_up))
            end(rng.choice(active))
        elif active and rng.random() < weather.burst:
            _burst(world, rng.choice(active), weather, rng)
        elif rng.random() < weather.gossip:
            _gossip(world, cut, rng)
        else:
            _deliver_one(world, cut, weather, rng)


def _start(world: World, weather: Weather, rng: Random) -> None:
    """An operation on a random node, sometimes one without a ledger, with a hint that may be out of date."""
    draw = rng.random() if world.ops else 1.0
    purpose = Purpose.ELECT
    holder, term = None, None
    if draw < weather.query:
        purpose = Purpose.QUERY
    elif draw < weather.query + weather.recall:
        purpose = Purpose.RECALL
        if rng.random() < 0.2:
            holder, term = rng.choice([("n0", None), ("n1", None), (None, 1), (None, 3), ("n0", 1)])
    n = world.shape.n
    home = rng.randrange(n + 1) if rng.random() < 0.3 else rng.randrange(n)
    hint = world.register(rng.randrange(n)) if rng.random() < weather.stale_hint else None
    alive = _some(rng, n) if rng.random() < 0.1 else None
    pace = Pace(looks=weather.looks, asks=rng.randrange(1, 4))
    more = rng.randrange(n + 1) if rng.random() < 0.1 else 0
    world.start(purpose, home, holder=holder, term=term, local=hint, alive=alive, at_least=more, pace=pace)


def _some(rng: Random, n: int) -> list[int]:
    return rng.sample(range(n), rng.randrange(n + 1))


def _poke(world: World, op: Operation, rng: Random) -> None:
    world.wake(op, _some(rng, world.shape.n) if rng.random() < 0.1 else None)


def _burst(world: World, op: Operation, weather: Weather, rng: Random) -> None:
    """One operation gets on: its newest message reaches some voters, and some answers come back at once."""
    flight = world.flight
    if op.state.phase is Phase.YIELD:
        _poke(world, op, rng)
    reached = [p for p in flight if p.op is op and p.data == op.sent[-1] and rng.random() < weather.reach]
    if not reached:
        _poke(world, op, rng)
    for parcel in reached:
        if rng.random() >= weather.double:
            flight.remove(parcel)
        known = len(flight)
        world.deliver(parcel)
        for answer in flight[known:]:
            if rng.random() < weather.back:
                flight.remove(answer)
                world.deliver(answer)


def _gossip(world: World, cut: set[tuple[Operation, int]], rng: Random) -> None:
    """Announcements reach some of the voters."""
    for parcel in [p for p in world.flight if p.kind is Kind.NEWS and (p.op, p.voter) not in cut]:
        if rng.random() < 0.5:
            world.flight.remove(parcel)
            world.deliver(parcel)


def _deliver_one(world: World, cut: set[tuple[Operation, int]], weather: Weather, rng: Random) -> None:
    """Any parcel, of any age, arrives; or is lost; or finds its voter crashing, or the wrong operation."""
    flight = world.flight
    size = len(flight)
    if not size:
        return
    at = (
        max(0, size - 1 - int(rng.expovariate(0.5))) if rng.random() < weather.recent else rng.randrange(size)
    )
    parcel = flight[at]
    if (parcel.op, parcel.voter) in cut:
        return
    if rng.random() >= weather.double:
        flight[at] = flight[-1]
        flight.pop()
    if rng.random() < weather.loss:
        return
    if parcel.kind is not Kind.REPLY and rng.random() < weather.crash:
        # Either the message is forgotten with the process, or the ledger has it and nobody is told.
        known = len(flight)
        world.deliver(parcel, crash=rng.random() < 0.5)
        del flight[known:]
    elif parcel.kind is Kind.REPLY and rng.random() < weather.mislaid:
        world.deliver(parcel._replace(op=rng.choice(world.ops)))
    else:
        world.deliver(parcel)


def _calm(world: World, rng: Random) -> None:
    """With a quorum alive and nobody else about, whoever asks must get an answer, and the right one.

    An election on an outdated hint may end as unknown; the next one on that node may not.
    """
    for op in world.ops:
        if op.is_active:
            world.stop(op)
    alive = rng.sample(range(world.shape.n), rng.randrange(world.shape.q, world.shape.n + 1))
    home = rng.choice([*alive, world.shape.n])
    first = rng.choice([Purpose.QUERY, Purpose.ELECT, Purpose.RECALL])
    if first is Purpose.ELECT:
        _alone(world, first, home, alive)
    for purpose in (first, Purpose.QUERY):
        outcome = _alone(world, purpose, home, alive)
        if outcome is None or outcome.verdict in (Verdict.UNKNOWN, Verdict.NO_QUORUM):
            raise Violation(f"L1: {purpose.value} is stuck, alone with a quorum: {outcome}")


def _alone(world: World, purpose: Purpose, home: int, alive: list[int]) -> Outcome | None:
    world.flight.clear()
    op = world.start(purpose, home, alive=alive)
    run(world, op, alive)
    return op.outcome


def run(world: World, op: Operation, alive: list[int]) -> None:
    """Let one operation have its way with these voters, everything in order, until it ends."""
    while op.is_active and op.state.round_trips <= CALM_ROUND_TRIPS:
        if not world.flight:
            world.wake(op)
        parcels = world.flight[:]
        world.flight.clear()
        for parcel in parcels:
            if parcel.voter in alive:
                world.deliver(parcel)
