"""A watcher put together: sinks side by side, its end, and its beginning where it was killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from polity_cli.edges.sinks import Gone, LineSink
from polity_cli.lookout import Reading
from polity_cli.watch import Watch
from polity_cli.watch_settings import WatchSettings
from tests.watching import POLITY, receiver, secret_file, until


class Cluster:
    def __init__(self, **terms: int) -> None:
        self.terms = terms

    def ask(self, wanted: frozenset[str] | None) -> list[Reading]:
        names = self.terms if wanted is None else wanted
        return [
            Reading(POLITY, role, self.terms.get(role, 0), "n1" if self.terms.get(role, 0) % 2 else None)
            for role in sorted(names)
        ]


@contextmanager
def watching(
    cluster: Cluster, folder: Path, plan: WatchSettings, lines: LineSink | None = None
) -> Iterator[Watch]:
    watch = Watch(
        plan,
        node="n9",
        ask=cluster.ask,
        say=lambda text: None,
        state=str(folder / "state"),
        lines=lines,
        first_retry_s=0.02,
        longest_retry_s=0.05,
    )
    watch.start()
    try:
        yield watch
    finally:
        watch.close()
        assert not any(courier.is_alive() for courier in watch.couriers)


def change(watch: Watch, cluster: Cluster, role: str, term: int) -> None:
    cluster.terms[role] = term
    watch.bell.ring(role, term)


def test_each_sink_gets_all_though_another_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    cluster, log, mended = Cluster(backup=1), tmp_path / "log", threading.Event()
    out = (tmp_path / "out").open("wb", buffering=0)
    with receiver(lambda request: 204 if mended.is_set() else 500) as server, out:
        plan = WatchSettings(
            exec=f"echo $POLITY_ROLE $POLITY_TERM >>{log}",
            webhook=server.url,
            secret_file=secret_file(tmp_path),
            every_s=600,
        )
        lines = LineSink(out.fileno(), lambda change: f"{change.role} {change.term}")
        with watching(cluster, tmp_path, plan, lines) as watch:
            for term in (2, 3):
                until(lambda t=term: watch.spool.delivered("exec") == {"backup": t - 1}, "exec")  # type: ignore[misc]
                change(watch, cluster, "backup", term)
            until(lambda: watch.spool.delivered("exec") == {"backup": 3}, "exec")
            until(lambda: watch.spool.delivered("stdout") == {"backup": 3}, "stdout")
            assert watch.spool.delivered("webhook") == {}
            assert len(watch.spool.pending("webhook")) == 3
            mended.set()
            until(lambda: watch.spool.delivered("webhook") == {"backup": 3}, "webhook")
            terms = [json.loads(request.body)["term"] for request in server.got]
            assert [term for i, term in enumerate(terms) if term not in terms[:i]] == [1, 2, 3]
            assert terms == sorted(terms)
    assert log.read_text() == (tmp_path / "out").read_text() == "backup 1\nbackup 2\nbackup 3\n"


PROGRAM = """
import sys, time
from tests.test_watch import Cluster
from polity_cli.watch import Watch
from polity_cli.watch_settings import WatchSettings
cluster = Cluster(backup=int(sys.argv[3]))
watch = Watch(WatchSettings(exec=sys.argv[2], every_s=600), node="n9", ask=cluster.ask, say=print,
              state=sys.argv[1], first_retry_s=0.02, longest_retry_s=0.05)
watch.start()
time.sleep(60)
"""


def start(folder: Path, command: str, term: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", PROGRAM, str(folder / "state"), command, str(term)])


def test_killed_while_a_command_runs_it_is_run_again(tmp_path: Path) -> None:
    up, log, go = tmp_path / "up", tmp_path / "log", tmp_path / "go"
    text = f"touch {up}; until test -e {go}; do sleep 0.02; done; echo $POLITY_TERM >>{log}"
    killed = start(tmp_path, text, 1)
    try:
        until(up.exists, "the command to start")
    finally:
        killed.kill()
        killed.wait()
    go.touch()
    until(log.exists, "what the killed one has started to end")
    with watching(Cluster(backup=2), tmp_path, WatchSettings(exec=text, every_s=600)) as watch:
        until(lambda: watch.spool.delivered("exec") == {"backup": 2}, "both")
    # The first came twice as nobody saw it end; none is missing, and none is out of order.
    assert log.read_text().split() == ["1", "1", "2"]


def test_killed_with_something_pending_it_is_delivered_before_what_came_since(tmp_path: Path) -> None:
    log, broken = tmp_path / "log", tmp_path / "broken"
    broken.touch()
    text = f"echo $POLITY_TERM >>{tmp_path}/tried; test ! -e {broken} && echo $POLITY_TERM >>{log}"
    killed = start(tmp_path, text, 4)
    try:
        until(
            lambda: len((tmp_path / "tried").read_text().split()) > 1 if (tmp_path / "tried").exists() else 0,
            "tries",
        )
    finally:
        killed.kill()
        killed.wait()
    broken.unlink()
    with watching(Cluster(backup=9), tmp_path, WatchSettings(exec=text, every_s=600)) as watch:
        until(lambda: watch.spool.delivered("exec") == {"backup": 9}, "both")
    assert log.read_text().split() == ["4", "9"]


def test_what_was_delivered_is_not_repeated_after_a_restart(tmp_path: Path) -> None:
    log = tmp_path / "log"
    plan = WatchSettings(exec=f"echo $POLITY_ROLE $POLITY_TERM >>{log}", every_s=600)
    for _ in range(2):
        with watching(Cluster(backup=4), tmp_path, plan) as watch:
            until(lambda w=watch: w.spool.delivered("exec") == {"backup": 4}, "it")  # type: ignore[misc]
    with watching(Cluster(backup=4, primary=1), tmp_path, plan) as watch:
        until(lambda: watch.spool.delivered("exec") == {"backup": 4, "primary": 1}, "the other")
    assert log.read_text() == "backup 4\nprimary 1\n"


def test_to_end_it_ends_a_command_that_runs_and_does_not_count_that_as_delivered(tmp_path: Path) -> None:
    up = tmp_path / "up"
    plan = WatchSettings(exec=f"touch {up}; sleep 60", every_s=600)
    with watching(Cluster(backup=1), tmp_path, plan) as watch:
        until(up.exists, "the command to start")
    with watching(Cluster(backup=1), tmp_path, WatchSettings(exec="exit 0", every_s=600)) as watch:
        until(lambda: watch.spool.delivered("exec") == {"backup": 1}, "it")


def test_the_end_of_the_only_reader_is_the_end_and_of_one_of_two_it_is_not(tmp_path: Path) -> None:
    for command in (None, "exit 0"):
        reading, writing = os.pipe()
        folder = tmp_path / str(command)
        lines = LineSink(writing, lambda change: "line")
        cluster = Cluster(backup=1)
        with watching(cluster, folder, WatchSettings(exec=command, every_s=600), lines) as watch:
            assert os.read(reading, 100) == b"line\n"
            assert watch.failure is None
            os.close(reading)
            if command is None:
                until(lambda w=watch: isinstance(w.failure, Gone), "the end")  # type: ignore[misc]
            else:
                change(watch, cluster, "backup", 2)
                until(lambda w=watch: w.spool.delivered("exec") == {"backup": 2}, "the other")  # type: ignore[misc]
                assert watch.failure is None
        os.close(writing)


def test_the_death_of_a_thread_is_not_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(wanted: frozenset[str] | None) -> list[Reading]:
        raise ZeroDivisionError

    monkeypatch.setattr(threading, "excepthook", lambda args: None)
    cluster = Cluster()
    cluster.ask = broken  # type: ignore[method-assign]
    with watching(cluster, tmp_path, WatchSettings(exec="exit 0")) as watch:
        until(lambda: watch.failure, "the end")
        assert "asks has ended" in str(watch.failure)
