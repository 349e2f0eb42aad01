"""The spool: nothing that was taken in is lost, whatever the process and the disk do."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from polity_cli.edges import spool as spool_module
from polity_cli.edges.spool import Spool
from polity_cli.errors import BadConfiguration, Busy
from tests.watching import POLITY, take


def terms(spool: Spool, sink: str) -> list[tuple[str, int, int]]:
    return [(c.role, c.previous_term, c.term) for c in spool.pending(sink)]


def reopened(spool: Spool, path: Path, *sinks: str) -> Spool:
    """As after a kill: only what is on the disk counts."""
    spool.close()
    return Spool(str(path), sinks or ("a", "b"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "state"


def test_what_is_taken_in_is_pending_for_each_sink_until_it_is_done(path: Path) -> None:
    spool = Spool(str(path), ("a", "b"))
    assert take(spool, "backup", 3)
    assert terms(spool, "a") == terms(spool, "b") == [("backup", 0, 3)]
    spool.done("a", spool.pending("a")[0])
    spool = reopened(spool, path)
    assert (terms(spool, "a"), terms(spool, "b")) == ([], [("backup", 0, 3)])
    assert spool.delivered("a") == {"backup": 3}
    assert spool.delivered("b") == {}
    assert spool.polity == POLITY


def test_only_newer_terms_are_news_and_each_says_what_was_told_before(path: Path) -> None:
    spool = Spool(str(path), ("a",))
    assert take(spool, "backup", 3)
    assert not take(spool, "backup", 3)
    assert not take(spool, "backup", 2)
    assert take(spool, "backup", 7)
    assert take(spool, "primary", 1)
    spool = reopened(spool, path, "a")
    assert not take(spool, "backup", 7)
    assert terms(spool, "a") == [("backup", 0, 3), ("backup", 3, 7), ("primary", 0, 1)]
    assert spool.newest == {"backup": 7, "primary": 1}


def test_terms_to_begin_after_count_where_nothing_is_known(path: Path) -> None:
    spool = Spool(str(path), ("a",), {"backup": 4})
    assert not take(spool, "backup", 4)
    assert take(spool, "backup", 5)
    spool.done("a", spool.pending("a")[0])
    spool.close()
    spool = Spool(str(path), ("a",), {"backup": 1, "primary": 2})
    assert not take(spool, "backup", 5)
    assert not take(spool, "primary", 2)
    assert take(spool, "primary", 3)
    assert terms(spool, "a") == [("primary", 2, 3)]


def test_a_sink_that_is_new_is_told_what_the_others_know_and_one_that_rests_goes_on(path: Path) -> None:
    spool = Spool(str(path), ("a",))
    take(spool, "backup", 1)
    spool.done("a", spool.pending("a")[0])
    take(spool, "backup", 2)
    spool = reopened(spool, path, "b")
    assert spool.newest == {}, "b has heard of nothing"
    take(spool, "backup", 2)
    assert terms(spool, "b") == [("backup", 0, 2)]
    spool = reopened(spool, path, "a", "b")
    assert terms(spool, "a") == [("backup", 1, 2)]
    assert terms(spool, "b") == [("backup", 0, 2)]


def test_another_polity_begins_anew_and_what_is_pending_of_the_old_one_is_kept(path: Path) -> None:
    spool = Spool(str(path), ("a",))
    take(spool, "backup", 7)
    spool.done("a", spool.pending("a")[0])
    take(spool, "backup", 8)
    assert spool.is_another("beef")
    assert not spool.is_another(POLITY)
    assert take(spool, "backup", 1, polity="beef")
    assert [(c.polity, c.term) for c in spool.pending("a")] == [(POLITY, 8), ("beef", 1)]
    spool = reopened(spool, path, "a")
    spool.done("a", spool.pending("a")[0])
    assert spool.delivered("a") == {}, "term 8 was another polity's"
    assert not take(spool, "backup", 1, polity="beef")
    assert take(spool, "backup", 2, polity="beef")


def test_without_a_file_all_is_in_memory() -> None:
    spool = Spool(None, ("a",), {"backup": 1})
    assert take(spool, "backup", 2)
    spool.done("a", spool.pending("a")[0])
    assert spool.delivered("a") == {"backup": 2}


def test_two_watchers_do_not_share_a_file(path: Path) -> None:
    spool = Spool(str(path), ("a",))
    with pytest.raises(Busy) as caught:
        Spool(str(path), ("a",))
    assert "fuser" in caught.value.hint
    spool.close()
    Spool(str(path), ("a",)).close()


def test_what_cannot_be_written_was_not_taken_in(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(str(path), ("a",))
    take(spool, "backup", 1)

    def full(*args: object) -> int:
        raise OSError(28, os.strerror(28))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(BadConfiguration, match="No space left") as caught:
            take(spool, "backup", 2)
        assert caught.value.hint
        assert terms(spool, "a") == [("backup", 0, 1)]
        with pytest.raises(BadConfiguration):
            spool.done("a", spool.pending("a")[0])
        assert terms(spool, "a") == [], "it was delivered all the same"
    assert not list(path.parent.glob("*.new"))
    assert take(spool, "backup", 2)
    spool = reopened(spool, path, "a")
    assert terms(spool, "a") == [("backup", 1, 2)]
    assert spool.delivered("a") == {"backup": 1}, "written with what came next"


def test_a_file_is_only_ever_replaced_by_one_that_is_on_the_disk(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    synced, renamed = os.fsync, os.rename

    def fsync(fd: int) -> None:
        steps.append("sync folder" if os.path.isdir(f"/proc/self/fd/{fd}") else "sync")
        synced(fd)

    def rename(old: str, new: str) -> None:
        steps.append("rename")
        renamed(old, new)

    spool = Spool(str(path), ("a",))
    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "rename", rename)
    take(spool, "backup", 1)
    assert steps == ["sync", "rename", "sync folder"]
    assert path.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        "[]",
        '{"version": 1}',
        '{"version": 1, "polity": "x", "sinks": {"a": {"delivered": {"r": -1}, "pending": []}}}',
        '{"version": 1, "polity": "x", "sinks": {"a": {"delivered": {}, "pending": [{"role": "r"}]}}}',
        '{"version": 1, "polity": "x", "sinks": {"a": {"delivered": {}, "pending": {}}}}',
        '{"version": 1, "polity": "x", "sinks": {"a": []}}',
    ],
)
def test_a_damaged_file_is_said_to_be_and_left_alone(path: Path, text: str) -> None:
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(BadConfiguration, match="is damaged") as caught:
        Spool(str(path), ("a",))
    assert "move it away" in caught.value.hint
    assert path.read_text() == text
    path.unlink()
    Spool(str(path), ("a",)).close()  # the lock was given back


def test_a_newer_version_is_not_misread(path: Path) -> None:
    path.parent.mkdir()
    path.write_text(json.dumps({"version": 2}))
    with pytest.raises(BadConfiguration, match="of version 2"):
        Spool(str(path), ("a",))


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadConfiguration, match="file/state"):
        Spool(str(tmp_path / "file" / "state"), ("a",))


def test_what_is_pending_is_bounded_by_giving_up_what_is_overtaken(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool_module, "MOST_PENDING", 3)
    spool = Spool(str(path), ("a",))
    take(spool, "once", 1)
    for term in range(1, 5):
        take(spool, "backup", term)
    assert terms(spool, "a") == [("once", 0, 1), ("backup", 2, 3), ("backup", 3, 4)]
    assert spool.given_up == 2
    for role in ("x", "y"):
        take(spool, role, 1)
    assert [role for role, *_ in terms(spool, "a")] == ["once", "backup", "x", "y"]
    assert spool.given_up == 3, "the newest of each role is never given up"


def test_a_sink_that_is_gone_gets_no_more_and_goes_on_next_time(path: Path) -> None:
    spool = Spool(str(path), ("a", "b"))
    take(spool, "backup", 1)
    spool.drop("a")
    take(spool, "backup", 2)
    assert terms(spool, "a") == []
    spool = reopened(spool, path)
    assert terms(spool, "a") == [("backup", 0, 1)]


def test_who_was_still_at_it_writes_nothing_over_what_the_next_one_wrote(path: Path) -> None:
    late = Spool(str(path), ("a",))
    take(late, "backup", 1)
    late.close()
    spool = Spool(str(path), ("a",))
    take(spool, "backup", 2)
    late.done("a", late.pending("a")[0])
    spool = reopened(spool, path, "a")
    assert terms(spool, "a") == [("backup", 0, 1), ("backup", 1, 2)]
