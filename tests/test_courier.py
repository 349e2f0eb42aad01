"""Couriers: in order, at least once, again after failures, and none in the way of another."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from polity_cli.courier import Courier
from polity_cli.edges.sinks import Gone
from polity_cli.edges.spool import RoleChange, Spool
from tests.watching import FakeSink, take, until


def nobody(text: str) -> None:
    """Who does not listen."""


@contextmanager
def serving(
    *sinks: FakeSink, spool: Spool, said: list[str] | None = None, first_retry_s: float = 0.01
) -> Iterator[list[Courier]]:
    stop = threading.Event()
    couriers = [
        Courier(
            sink,
            spool,
            stop=stop,
            say=nobody if said is None else said.append,
            first_retry_s=first_retry_s,
            longest_retry_s=0.05,
        )
        for sink in sinks
    ]
    for courier in couriers:
        courier.start()
    try:
        yield couriers
    finally:
        stop.set()
        for courier in couriers:
            courier.nudge()
            courier.join(30)
            assert not courier.is_alive()


def test_changes_are_delivered_in_order_as_they_come() -> None:
    sink, spool = FakeSink(), Spool(None, ("fake",))
    take(spool, "backup", 1)
    with serving(sink, spool=spool):
        until(lambda: sink.got == [("backup", 1)], "what was there")
        for term in range(2, 30):
            take(spool, "backup", term)
        until(lambda: spool.delivered("fake") == {"backup": 29}, "what came later")
    assert sink.got == [("backup", term) for term in range(1, 30)]
    assert sink.tried == sink.got


def test_a_failure_is_tried_again_and_nothing_of_the_role_overtakes_it() -> None:
    sink = FakeSink(fails=lambda role, term, attempt: term == 1 and attempt < 5)
    spool, said = Spool(None, ("fake",)), list[str]()
    for term in (1, 2, 3):
        take(spool, "backup", term)
    with serving(sink, spool=spool, said=said):
        until(lambda: spool.delivered("fake") == {"backup": 3}, "all to be delivered")
    assert sink.tried == [("backup", 1)] * 5 + [("backup", 2), ("backup", 3)]
    assert [line.split(":")[1] for line in said] == [
        " backup (term 1) is not delivered yet",
        " backup (term 1) is not delivered yet (2 times running)",
        " backup (term 1) is not delivered yet (4 times running)",
        " backup (term 1) is delivered, after 5 tries",
    ]
    assert "told to fail" in said[0]


def test_another_roles_changes_go_on_meanwhile() -> None:
    lock = threading.Event()
    sink = FakeSink(fails=lambda role, term, attempt: role == "backup" and not lock.is_set())
    spool = Spool(None, ("fake",))
    take(spool, "backup", 1)
    with serving(sink, spool=spool):
        until(lambda: ("backup", 1) in sink.tried, "the first try")
        for term in (1, 2):
            take(spool, "primary", term)
        take(spool, "backup", 2)
        until(lambda: spool.delivered("fake") == {"primary": 2}, "the other role")
        lock.set()
        until(lambda: spool.delivered("fake") == {"primary": 2, "backup": 2}, "the role that failed")
    assert [term for role, term in sink.got if role == "backup"] == [1, 2]


def test_a_sink_that_hangs_is_in_nobodys_way() -> None:
    free = threading.Event()

    class Hanging(FakeSink):
        def deliver(self, change: RoleChange) -> None:
            free.wait(20)
            super().deliver(change)

    slow, quick = Hanging(name="slow"), FakeSink(name="quick")
    spool = Spool(None, ("slow", "quick"))
    with serving(slow, quick, spool=spool):
        for term in (1, 2, 3):
            take(spool, "backup", term)
        until(lambda: spool.delivered("quick") == {"backup": 3}, "the quick one")
        assert slow.got == []
        free.set()
        until(lambda: spool.delivered("slow") == {"backup": 3}, "the slow one")
    assert slow.got == quick.got


def test_pauses_double_up_to_a_limit_and_each_change_begins_anew() -> None:
    now = [0.0]
    sink = FakeSink(fails=lambda role, term, attempt: True)
    spool = Spool(None, ("fake",))
    take(spool, "backup", 1)
    courier = Courier(
        sink,
        spool,
        stop=threading.Event(),
        say=nobody,
        longest_retry_s=300.0,
        draw=lambda: 0.0,
        now_s=lambda: now[0],
    )
    pauses = []
    for _ in range(12):
        change = courier._next()
        assert change is not None
        courier._deliver(change)
        due_s = courier._troubles["backup"].due_s
        pauses.append(due_s - now[0])
        now[0] = due_s
    assert pauses == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]
    sink.fails = lambda role, term, attempt: False
    change = courier._next()
    assert change is not None
    courier._deliver(change)
    assert courier._troubles == {}


def test_what_was_not_confirmed_is_repeated_after_a_restart(tmp_path: Path) -> None:
    """The process dies behind the delivery and before that is written down: it comes twice, never not."""
    path = tmp_path / "state"
    written = list[dict[str, int]]()

    class Looking(FakeSink):
        def deliver(self, change: RoleChange) -> None:
            super().deliver(change)
            again = path.with_suffix(".copy")
            again.write_bytes(path.read_bytes())
            copied = Spool(str(again), ("fake",))
            written.append(dict(copied.delivered("fake")))
            assert change in copied.pending("fake")
            copied.close()

    sink, spool = Looking(), Spool(str(path), ("fake",))
    with serving(sink, spool=spool) as couriers:
        take(spool, "backup", 1)
        until(lambda: spool.delivered("fake") == {"backup": 1}, "the first")
        take(spool, "backup", 2)
        until(lambda: spool.delivered("fake") == {"backup": 2}, "the second")
        assert couriers[0].failure is None
    assert written == [{}, {"backup": 1}], "it was written down before it was delivered"


def test_what_is_pending_at_the_end_is_delivered_after_a_restart(tmp_path: Path) -> None:
    path = str(tmp_path / "state")
    spool = Spool(path, ("fake",))
    broken = FakeSink(fails=lambda role, term, attempt: True)
    with serving(broken, spool=spool):
        for term in (1, 2, 3):
            take(spool, "backup", term)
        until(lambda: len(broken.tried) > 1, "some tries")
    spool.close()
    mended, spool = FakeSink(), Spool(path, ("fake",))
    with serving(mended, spool=spool):
        until(lambda: spool.delivered("fake") == {"backup": 3}, "all of them")
    assert mended.got == [("backup", 1), ("backup", 2), ("backup", 3)]


@pytest.mark.parametrize("failure", [lambda: Gone("closed"), lambda: ZeroDivisionError("oops")])
def test_a_sink_that_is_gone_or_broken_ends_its_courier_and_no_other(
    failure: Callable[[], Exception],
) -> None:
    class Bad(FakeSink):
        def deliver(self, change: RoleChange) -> None:
            raise failure()

    bad, good, said = Bad(name="bad"), FakeSink(name="good"), list[str]()
    spool = Spool(None, ("bad", "good"))
    with serving(bad, good, spool=spool, said=said) as (courier, _):
        take(spool, "backup", 1)
        until(lambda: courier.failure, "the end of the bad one")
        take(spool, "backup", 2)
        until(lambda: spool.delivered("good") == {"backup": 2}, "the good one")
        assert spool.pending("bad") == ()
    assert isinstance(courier.failure, type(failure()))
    assert ["a bug" in line for line in said] == [True] * isinstance(failure(), ZeroDivisionError)


def test_a_delivery_that_cannot_be_written_down_is_said_and_not_repeated(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    spool, sink, said = Spool(str(folder / "file"), ("fake",)), FakeSink(), list[str]()
    take(spool, "backup", 1)
    folder.rename(tmp_path / "elsewhere")
    with serving(sink, spool=spool, said=said):
        until(lambda: said, "a complaint")
        (tmp_path / "elsewhere").rename(folder)
        take(spool, "backup", 2)
        until(lambda: spool.delivered("fake") == {"backup": 2}, "what came next")
    assert sink.got == [("backup", 1), ("backup", 2)]
    assert "after a restart it is repeated" in said[0]
