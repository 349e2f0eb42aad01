"""What wakes a watcher, what it asks then, and that it needs no event to see a change."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from polity_cli.core.ballot import Ballot
from polity_cli.core.messages import Announce, Fetch
from polity_cli.core.tenure import Tenure
from polity_cli.edges import wire
from polity_cli.edges.serf_types import QueryEvent, UserEvent
from polity_cli.edges.spool import Spool
from polity_cli.errors import NoQuorum, NotFounded, PolityError
from polity_cli.lookout import Bell, Reader, Reading
from tests.watching import POLITY, until


def announced(role: str, term: int, *, name: str = "polity") -> UserEvent:
    tenure = Tenure(term, "n1" if term % 2 else None, b"c" * 8)
    news = Announce(b"p" * 8, 1, role, Ballot(term, b"a" * 8, 0), tenure)
    return UserEvent(name, 1, wire.encode(news), False)


@dataclass
class Cluster:
    """Roles and their terms, as a quorum knows them; `asked` notes which were asked for."""

    terms: dict[str, int] = field(default_factory=dict)
    asked: list[frozenset[str] | None] = field(default_factory=list)
    trouble: PolityError | None = None
    polity: str = POLITY

    def ask(self, wanted: frozenset[str] | None) -> Iterator[Reading]:
        self.asked.append(wanted)
        for role in sorted(self.terms if wanted is None else wanted):
            if self.trouble is not None:
                raise self.trouble
            term = self.terms.get(role, 0)
            yield Reading(self.polity, role, term, "n1" if term % 2 else None)
        if self.trouble is not None:
            raise self.trouble


@dataclass
class Watcher:
    cluster: Cluster
    spool: Spool
    bell: Bell
    said: list[str]
    reader: Reader

    def seen(self) -> list[tuple[str, int]]:
        return [(change.role, change.term) for change in self.spool.pending("fake")]


def watcher(
    cluster: Cluster,
    *,
    roles: tuple[str, ...] = (),
    every_s: float = 600,
    stop: threading.Event | None = None,
) -> Watcher:
    spool, bell, said = Spool(None, ("fake",)), Bell(), list[str]()
    reader = Reader(
        spool,
        bell,
        node="n9",
        roles=roles,
        every_s=every_s,
        ask=cluster.ask,
        stop=stop or threading.Event(),
        say=said.append,
    )
    return Watcher(cluster, spool, bell, said, reader)


@contextmanager
def watching(cluster: Cluster, *, roles: tuple[str, ...] = (), every_s: float = 600) -> Iterator[Watcher]:
    stop = threading.Event()
    made = watcher(cluster, roles=roles, every_s=every_s, stop=stop)
    thread = threading.Thread(target=made.reader.run, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        stop.set()
        made.bell.ring_for_all()
        thread.join(30)
        assert not thread.is_alive()


# What is asked, and when.


def test_it_begins_with_what_is_so_and_an_event_has_it_ask_for_that_role() -> None:
    cluster = Cluster({"backup": 3, "primary": 2, "vain": 0})
    with watching(cluster) as made:
        until(lambda: made.seen() == [("backup", 3), ("primary", 2)], "what is so")
        cluster.terms["backup"] = 4
        made.bell.hear(announced("backup", 4), "polity")
        until(lambda: made.seen()[2:] == [("backup", 4)], "the change")
    assert cluster.asked == [None, frozenset({"backup"})]
    change = made.spool.pending("fake")[-1]
    assert (change.previous_term, change.holder, change.node) == (3, None, "n9")
    assert change.seen.endswith("Z")


def test_a_lost_event_is_only_a_delay() -> None:
    cluster = Cluster({"backup": 1})
    with watching(cluster, every_s=0.3) as made:
        until(lambda: made.seen() == [("backup", 1)], "what is so")
        cluster.terms["backup"] = 2
        cluster.terms["unheard"] = 1
        until(lambda: made.seen()[1:] == [("backup", 2), ("unheard", 1)], "what nobody told")
    assert set(cluster.asked) == {None}


def test_what_is_told_is_what_a_quorum_says_and_no_event() -> None:
    """Forged, early, doubled, old: an event is worth a question at most."""
    cluster = Cluster({"backup": 3})
    with watching(cluster) as made:
        until(lambda: made.seen() == [("backup", 3)], "what is so")
        for event in (announced("backup", 3), announced("backup", 2), announced("backup", 3)):
            made.bell.hear(event, "polity")
        made.bell.hear(announced("forged", 9), "polity")
        until(lambda: frozenset({"forged"}) in cluster.asked, "the question")
        cluster.terms["backup"] = 8
        made.bell.hear(announced("backup", 5), "polity")
        until(lambda: made.seen()[1:] == [("backup", 8)], "the change")
    assert cluster.asked == [None, frozenset({"forged"}), frozenset({"backup"})]


@pytest.mark.parametrize(
    "event",
    [
        None,
        announced("backup", 9, name="another"),
        UserEvent("polity", 1, b"nonsense", False),
        UserEvent("polity", 1, wire.encode(Fetch(b"a" * 8, b"", 0)), False),
        QueryEvent(1, "polity", 1, announced("backup", 9).payload),
        UserEvent(
            "polity",
            1,
            wire.encode(Announce(b"p" * 8, 1, "", Ballot(1, b"", 0), Tenure(1, None, b""))),
            False,
        ),
    ],
)
def test_what_announces_nothing_is_passed_over(event: UserEvent | QueryEvent | None) -> None:
    bell = Bell()
    bell.hear(event, "polity")
    bell.hear(announced("last", 1), "polity")
    assert bell.wait(5, lambda role, term: True) == frozenset({"last"})


def test_only_the_roles_that_are_wanted_are_asked_for() -> None:
    cluster = Cluster({"backup": 1, "other": 1})
    with watching(cluster, roles=("backup", "unborn")) as made:
        until(lambda: made.seen() == [("backup", 1)], "what is so")
        made.bell.hear(announced("other", 5), "polity")
        cluster.terms["unborn"] = 1
        made.bell.hear(announced("unborn", 1), "polity")
        until(lambda: made.seen()[1:] == [("unborn", 1)], "the change")
    assert cluster.asked == [frozenset({"backup", "unborn"}), frozenset({"unborn"})]


def test_what_may_have_been_missed_has_all_asked_for() -> None:
    cluster = Cluster({"backup": 1})
    with watching(cluster) as made:
        until(lambda: made.seen() == [("backup", 1)], "what is so")
        cluster.terms["backup"] = 2
        made.bell.ring_for_all()
        until(lambda: made.seen()[1:] == [("backup", 2)], "the change")


def test_names_that_are_made_up_do_not_pile_up() -> None:
    bell = Bell()
    for number in range(5000):
        bell.ring(f"role-{number}", 1)
    assert len(bell._terms) <= 1000
    assert bell.wait(5, lambda role, term: False) is None, "what was forgotten is asked for with all"


# What goes wrong.


def test_a_cluster_that_does_not_answer_is_said_to_and_asked_again() -> None:
    cluster = Cluster({"backup": 1})
    cluster.trouble = NoQuorum("too few answer", hint="start them")
    with watching(cluster, every_s=0.3) as made:
        until(lambda: len(made.said) >= 2, "complaints")
        cluster.trouble = None
        until(lambda: made.seen() == [("backup", 1)], "the change")
        until(lambda: "answers again" in made.said[-1], "the end of it")
    assert made.said[0] == "nobody says who holds what: too few answer"
    assert made.said[1] == "nobody says who holds what (2 times running): too few answer"


def test_complaints_become_rare(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster({"backup": 1}, trouble=NoQuorum("too few answer"))
    made = watcher(cluster)
    for _ in range(64):
        assert not made.reader.look()
    assert len(made.said) == 7


def test_a_cluster_without_a_polity_is_no_outage() -> None:
    cluster = Cluster(trouble=NotFounded("nobody has founded a polity here", hint="found it"))
    made = watcher(cluster)
    assert not made.reader.look()
    cluster.trouble = None
    assert made.reader.look()
    assert made.said == ["nobody says who holds what: nobody has founded a polity here. found it"]


def test_after_a_failure_all_are_asked_for_again() -> None:
    cluster = Cluster({"backup": 1, "primary": 1})
    with watching(cluster, every_s=1.0) as made:
        until(lambda: len(made.seen()) == 2, "what is so")
        cluster.trouble = NoQuorum("too few answer")
        cluster.terms = {"backup": 2, "primary": 2}
        made.bell.hear(announced("backup", 2), "polity")
        until(lambda: made.said, "a complaint")
        cluster.trouble = None
        until(lambda: len(made.seen()) == 4, "both changes")


def test_what_was_read_before_a_failure_counts() -> None:
    cluster = Cluster({"backup": 1})
    made = watcher(cluster)

    def half(wanted: frozenset[str] | None) -> Iterator[Reading]:
        yield Reading(POLITY, "backup", 1, "n1")
        raise NoQuorum("the rest is silent")

    made.reader._ask = half
    assert not made.reader.look()
    assert made.seen() == [("backup", 1)]


def test_another_polity_is_said_and_told_anew() -> None:
    cluster = Cluster({"backup": 7})
    made = watcher(cluster)
    made.reader.look()
    cluster.polity, cluster.terms = "beef", {"backup": 1}
    made.reader.look()
    assert made.seen() == [("backup", 7), ("backup", 1)]
    assert made.said == [
        f"this is polity beef, it was {POLITY}: its terms begin anew, and every role is told once more"
    ]


def test_terms_never_go_back() -> None:
    cluster = Cluster({"backup": 7})
    made = watcher(cluster)
    made.reader.look()
    for term in (6, 7, 3, 9):
        cluster.terms["backup"] = term
        made.reader.look()
    assert made.seen() == [("backup", 7), ("backup", 9)]


def test_a_stop_is_no_complaint() -> None:
    stop = threading.Event()
    cluster = Cluster({"backup": 1}, trouble=NoQuorum("asked to stop"))
    made = watcher(cluster, stop=stop)
    stop.set()
    assert not made.reader.look()
    assert made.said == []


def test_a_spool_that_cannot_be_written_is_said_to_be(tmp_path: Path) -> None:
    cluster, said = Cluster({"backup": 1}), list[str]()
    folder = tmp_path / "folder"
    spool = Spool(str(folder / "state"), ("fake",))
    reader = Reader(
        spool,
        Bell(),
        node="n9",
        roles=(),
        every_s=600,
        ask=cluster.ask,
        stop=threading.Event(),
        say=said.append,
    )
    folder.rename(tmp_path / "elsewhere")
    assert not reader.look()
    (tmp_path / "elsewhere").rename(folder)
    assert reader.look()
    assert [change.term for change in spool.pending("fake")] == [1]
    assert said[0].startswith("changes are not told: what was seen and delivered cannot be kept in ")
    assert said[1:] == ["changes are noted again"]
