"""The electorate grows from three to seven and shrinks to three others, while cron jobs elect and recall."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from random import Random
from time import monotonic

from polity_cli.devcluster import wait_for
from tests.netns.conftest import Fields
from tests.netns.field import Field
from tests.serf.verbs import NO_QUORUM, OK, UNFIT, UNKNOWN, Said, tell

JOBS = 3
COMMANDS = ("elect", "elect", "elect", "recall", "recall", "who", "voters")
PACE_S = 0.4
LIMIT_S = 90.0
"""How long a change is tried again: no step takes that long, however busy the machine is."""


def test_three_become_seven_and_three_others_while_all_goes_on(young_field: Fields) -> None:
    it = young_field(7, first=3)
    cluster = it.cluster
    assert cluster["n1"].polity("found", "--expect", "3", "--min-votes", "2", "--wait").returncode == OK
    with cron(it) as progress:
        progress(6)
        join(it, "n4", "n5")
        all_at_once(it, ("n1", "add", "n4", "n5"), ("n4", "sync"))
        assert voters(it, "n2") == {"n1", "n2", "n3", "n4", "n5"}
        progress(4)

        join(it, "n6", "n7")
        cluster.isolate("n1", "n2")
        few, _ = both(
            lambda: it.ask(
                "n1", "voters", "rule", "--min-votes", "4", "--even-if-it-blocks", "--timeout", "4"
            ),
            lambda: change(it, "n6", "add", "n6", "n7"),
        )
        assert few.code == NO_QUORUM, few
        progress(4)
        cluster.mend()
        cluster.wait_converged(timeout_s=60)
        assert voters(it, "n1") == {"n1", "n2", "n3", "n4", "n5", "n6", "n7"}
        progress(4)

        cluster["n3"].leave(timeout_s=30)
        wait_for(lambda: status(it, "n3") == {"left"}, 30, "everybody to see that n3 left")
        all_at_once(it, ("n7", "sync"), ("n4", "sync"))
        assert voters(it, "n2") == {"n1", "n2", "n4", "n5", "n6", "n7"}
        all_at_once(it, ("n2", "remove", "n1"), ("n6", "remove", "n2"))
        assert voters(it, "n1") == {"n4", "n5", "n6", "n7"}

        with it.begin("n5", "voters", "remove", "n4", halt="after:listroles") as coordinator:
            coordinator.wait_halted()
            coordinator.kill()
            it.record.fault("kill_coordinator")
        # The change is half made. Elections go on, by quorums of four and of three.
        assert voters(it, "n7", changing=True) == {"n4", "n5", "n6", "n7"}
        progress(4)
        change(it, "n6", "remove", "n4")
    assert voters(it, "n1") == {"n5", "n6", "n7"}

    same = {(one.data["epoch"], *sorted(enrolled(one))) for one in agreed(it)}
    assert len(same) == 1
    for role in roles(it):
        holder, term = it.agree(role, nodes=cluster.running)
        if holder is not None:
            assert it.ask("n4", "recall", role, "--term", str(term)).code == OK
        elected = it.ask("n1", "elect", role)
        assert (elected.code, elected.data["votes"]["population"]) == (OK, 3), elected
        assert it.agree(role, nodes=cluster.running) == ("n1", elected.data["term"])
    assert it.record.outcomes["won"] >= 4, "there was something to judge"
    assert it.record.outcomes["electorate changed"] >= 5


def roles(it: Field) -> list[str]:
    return [it.role("a"), it.role("b")]


@contextmanager
def cron(it: Field) -> Iterator[Callable[[int], None]]:
    """Jobs on nodes that run, again and again, until the `with` ends; gives a wait for more outcomes."""
    over = threading.Event()
    with ThreadPoolExecutor(JOBS) as pool:
        jobs = [pool.submit(_job, it, Random(f"electorate {at}"), over) for at in range(JOBS)]

        def decided() -> int:
            return sum(operation.tells for operation in it.record.operations)

        def progress(more: int) -> None:
            wanted = decided() + more
            wait_for(lambda: decided() >= wanted or _died(jobs), LIMIT_S, f"{more} more outcomes")

        try:
            yield progress
        finally:
            over.set()
        for job in jobs:
            job.result()


def _died(jobs: list[Future[None]]) -> bool:
    for job in jobs:
        if job.done():
            job.result()
    return False


def _job(it: Field, rng: Random, over: threading.Event) -> None:
    while not over.is_set():
        node, command = rng.choice(it.cluster.running), rng.choice(COMMANDS)
        role = [] if command == "voters" else [rng.choice(roles(it))]
        it.record.ask(node, command, *role, "--timeout", str(rng.choice((2, 4, 8))))
        # A cron job's own pace; nothing is waited for.
        over.wait(PACE_S * rng.random())


def join(it: Field, *names: str) -> None:
    """Starts these nodes and waits until their voters answer."""
    for name in names:
        it.cluster[name].start()
    it.cluster.wait_converged(timeout_s=60)
    strangers: set[str] = set()

    def answer() -> bool:
        said = it.ask("n1", "voters")
        strangers.update(row["node"] for row in said.data.get("voters", ()) if row["answers"])
        return strangers >= set(names)

    wait_for(answer, LIMIT_S, f"the voters of {', '.join(names)} to answer")


def change(it: Field, node: str, *words: str) -> Said:
    """A change of the electorate, tried again until it is made; others may be at it as well."""
    deadline = monotonic() + LIMIT_S
    while True:
        said = it.ask(node, "voters", *words)
        if said.code == OK:
            return said
        # A voter that answers too late on a busy machine is missed as one that is down.
        assert said.code in (NO_QUORUM, UNKNOWN, UNFIT), said
        assert monotonic() < deadline, said


def both(*work: Callable[[], Said]) -> list[Said]:
    with ThreadPoolExecutor(len(work)) as pool:
        return list(pool.map(lambda one: one(), work))


def all_at_once(it: Field, *orders: tuple[str, ...]) -> None:
    """Changes, each by its own coordinator: a node, and what it is told to do."""
    both(*(partial(change, it, *order) for order in orders))


def enrolled(said: Said) -> set[str]:
    return {row["node"] for row in said.data["voters"] if row["enrolled"]}


def voters(it: Field, node: str, *, changing: bool = False) -> set[str]:
    """Who is enrolled, as a node says once it sees a change under way, or none."""
    said: list[Said] = []

    def settled() -> bool:
        said.append(it.ask(node, "voters"))
        return said[-1].data.get("is_changing") is changing

    wait_for(settled, LIMIT_S, "the electorate to be told", seen=lambda: tell(said[-1:]))
    return enrolled(said[-1])


def agreed(it: Field) -> list[Said]:
    """What all running nodes tell of the electorate, once all answer."""
    answers: list[Said] = []

    def told() -> bool:
        answers[:] = it.ask_each([node.name for node in it.cluster.running], "voters")
        return all(said.code == OK for said in answers)

    wait_for(told, LIMIT_S, "all nodes to tell the electorate", seen=lambda: tell(answers))
    return answers


def status(it: Field, name: str) -> set[str]:
    """What the running nodes call a node."""
    return {node.members().get(name, "unknown") for node in it.cluster.running}
