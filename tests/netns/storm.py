"""Candidates, recallers and askers in loops, as from cron, while a nemesis breaks and mends things.

Everything is drawn from one seed; what comes of it also depends on the machine, so that a seed is a kind of
weather and no replay. Nothing here says what must come out, beyond what the judge says of the whole history:
nobody can know that. Afterwards, when all is healed, the nodes must agree and elections must go on.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from random import Random

from polity_cli.errors import SerfError
from tests.netns.field import Field
from tests.serf.verbs import OK

JOBS = ("elect", "elect", "elect", "elect", "elect", "recall", "recall", "who")
FEW_JOBS = ("elect", "elect", "recall", "who")
"""With hooks: every query starts a process on each node, and here all nodes share one machine."""

PACE_S = 0.4
"""The longest pause of a job between two commands."""


class Nemesis:
    """Does one bad thing after the other, each for a while of at most `longest_s`."""

    def __init__(self, field: Field, rng: Random, longest_s: float) -> None:
        self._field = field
        self._rng = rng
        self._longest_s = longest_s
        self._names = [node.name for node in field.cluster.nodes]

    def run(self, count: int) -> None:
        """So many attacks, each kind as often as the others; all is mended and running again after each."""
        kinds: list[Callable[[], None]] = [
            self._split,
            self._split,
            self._one_way,
            self._lossy,
            self._lossy,
            self._processes,
            self._processes,
            self._processes,
            self._client,
            self._client,
            self._blackout,
        ]
        bag: list[Callable[[], None]] = []
        try:
            for _ in range(count):
                if not bag:
                    bag = self._rng.sample(kinds, len(kinds))
                bag.pop()()
                # For how long it lasts, and how long the calm after it: nothing is waited for.
                time.sleep(self._rng.uniform(0.2, self._longest_s))
                self._undo()
                time.sleep(self._rng.uniform(0.1, 0.6))
        finally:
            self._undo()

    def _some(self) -> list[str]:
        """Some of the nodes, but never so many that the others are no majority."""
        return self._rng.sample(self._names, self._rng.randint(1, (len(self._names) - 1) // 2))

    def _split(self) -> None:
        self._field.cluster.isolate(*self._some())

    def _one_way(self) -> None:
        some = self._some()
        ways = [some, [name for name in self._names if name not in some]]
        self._rng.shuffle(ways)
        self._field.cluster.one_way_cut(*ways)

    def _lossy(self) -> None:
        self._field.cluster.loss(self._rng.choice((5, 20, 40)))

    def _processes(self) -> None:
        verbs = ("kill", "kill_serf", "kill_voter", "pause", "pause_serf", "pause_voter")
        self._field.hit(self._rng.choice(verbs), *self._some())

    def _client(self) -> None:
        errands = self._field.record.errands()
        if errands:
            errand = self._rng.choice(errands)
            verb = self._rng.choice(("kill", "pause", "interrupt"))
            self._field.record.fault(f"{verb}_client")
            getattr(errand, verb)()

    def _blackout(self) -> None:
        self._field.hit("kill", *self._names)

    def _undo(self) -> None:
        cluster = self._field.cluster
        cluster.mend()
        for errand in self._field.record.errands():
            errand.go_on()
        for node in cluster.nodes:
            node.resume()
        for node in cluster.nodes:
            # Nobody to join just now: the snapshot has it join later, or the healing does.
            with contextlib.suppress(SerfError):
                node.start()


def storm(field: Field, *, seed: int, attacks: int, longest_s: float = 2.5) -> None:
    """Has every job run again and again during so many attacks, then heals all and has the polity go on.

    Raises Violation if the answers cannot all be true, AssertionError if somebody hangs or all is stuck.
    """
    over = threading.Event()
    commands = FEW_JOBS if field.voters == "hook" else JOBS
    roles = [field.role("a"), field.role("b")]
    with ThreadPoolExecutor(len(commands)) as pool:
        jobs = [
            pool.submit(_job, field, command, at, Random(f"{seed} {at}"), roles, over)
            for at, command in enumerate(commands)
        ]
        try:
            Nemesis(field, Random(f"{seed} nemesis"), longest_s).run(attacks)
        finally:
            over.set()
        for job in jobs:
            job.result()
    field.cluster.heal()
    for role in roles:
        holder, term = field.agree(role)
        if holder is not None:
            recalled = field.ask("n1", "recall", role, "--holder", holder, "--term", str(term))
            assert (recalled.code, recalled.data["term"]) == (OK, term + 1), recalled
        elected = field.ask("n2", "elect", role)
        assert elected.code == OK, elected
        assert field.agree(role) == ("n2", elected.data["term"])
    field.record.judge()


def _job(field: Field, command: str, at: int, rng: Random, roles: list[str], over: threading.Event) -> None:
    node = field.cluster.nodes[at % field.cluster.size]
    while not over.is_set():
        role = rng.choice((roles[0], roles[0], roles[1]))
        options = ["--timeout", str(rng.choice((1, 2, 4, 8)))]
        if command == "recall" and rng.random() < 0.4:
            options += ["--holder", rng.choice(field.cluster.nodes).name]
        field.record.ask(node, command, role, *options)
        # A cron job's own pace; nothing is waited for.
        over.wait(PACE_S * rng.random())
