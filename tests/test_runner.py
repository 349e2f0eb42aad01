"""The runner without a cluster; with one: `tests/serf/test_run.py`."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

from polity_cli import runner as runner_room
from polity_cli.core.operation import Verdict
from polity_cli.core.succession import Succession
from polity_cli.core.tenure import Tenure
from polity_cli.edges import runs
from polity_cli.edges.serf_rpc import SerfClient
from polity_cli.errors import BadConfiguration, BadInput
from polity_cli.leash import boottime_s
from polity_cli.runner import Bounds, Ended, Run, Runner, give_back
from polity_cli.settings import Settings

SETTINGS = Settings("127.0.0.1:1", None, "", "polity", None)


def work(
    folder: Path,
    *argv: str,
    said: list[str] | None = None,
    bounds: Bounds = Bounds(),  # noqa: B008
    ago_s: float = 0.0,
) -> Run:
    """A run in a term that was confirmed a while ago, on a node whose agent does not answer."""
    claimed = runs.claim(str(folder), "polity", "n1", "job")
    assert claimed is not None
    return Run(
        settings=SETTINGS._replace(state_dir=str(folder)),
        node="n1",
        role="job",
        tenure=Tenure(7, "n1", b"claim---"),
        argv=argv,
        bounds=bounds,
        claimed=claimed,
        where=("--state-dir", str(folder)),
        confirmed_s=boottime_s() - ago_s,
        say=(lambda text: None) if said is None else said.append,
    )


def test_nothing_is_started_for_whoever_wanted_to_stop_before(tmp_path: Path) -> None:
    runner = Runner(work(tmp_path, "/bin/sh", "-c", f"touch {tmp_path}/started"))
    before = signal.getsignal(signal.SIGTERM)
    assert runner.run(is_unwanted=lambda: True) is None
    runner.close()
    assert not (tmp_path / "started").exists()
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_command_gets_its_term_over_what_was_inherited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POLITY_TERM", "5")
    seen = tmp_path / "seen"
    runner = Runner(work(tmp_path, "/bin/sh", "-c", f"echo $POLITY_ROLE $POLITY_TERM $POLITY_NODE >{seen}"))
    assert runner.run(is_unwanted=lambda: False) == Ended(0)
    runner.close()
    assert seen.read_text() == "job 7 n1\n"


def test_open_files_of_whoever_started_polity_are_the_commands_too(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    runner = Runner(work(tmp_path, "/bin/sh", "-c", f"echo mine >/dev/fd/{writing}"))
    assert runner.run(is_unwanted=lambda: False) == Ended(0)
    runner.close()
    os.close(writing)
    assert os.read(reading, 100) == b"mine\n"
    os.close(reading)


def test_without_an_agent_the_command_ends_when_its_grace_is_over(tmp_path: Path) -> None:
    said: list[str] = []
    bounds = Bounds(check_s=0.2, grace_s=1.0, kill_grace_s=0.5)
    began_s = boottime_s()
    deaf = work(tmp_path, "/bin/sh", "-c", "trap '' TERM; sleep 30; sleep 30", said=said, bounds=bounds)
    runner = Runner(deaf)
    ended = runner.run(is_unwanted=lambda: False)
    assert 1.5 <= boottime_s() - began_s < 4.0
    runner.close()
    assert ended == Ended(128 + signal.SIGKILL, "no quorum has confirmed it for 1 s")
    assert [text.partition(":")[0] for text in said] == [
        "nobody confirms that n1 still holds job",
        "n1 has lost job (term 7)",
    ]


def test_a_leash_that_is_stopped_cannot_keep_the_command_running(tmp_path: Path) -> None:
    bounds = Bounds(check_s=0.2, grace_s=1.0, kill_grace_s=0.5)
    runner = Runner(work(tmp_path, "/bin/sh", "-c", f"echo $$ >{tmp_path}/pid; exec sleep 60", bounds=bounds))

    def stop_the_leash() -> None:
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text().endswith("\n"):
            time.sleep(0.01)
        assert runner._leash is not None
        os.kill(runner._leash.pid, signal.SIGSTOP)
        # A runner that does not notice would wait for the leash for ever.
        if not is_over.wait(20):
            runner._leash.kill()

    is_over = threading.Event()
    helper = threading.Thread(target=stop_the_leash)
    helper.start()
    ended = runner.run(is_unwanted=lambda: False)
    is_over.set()
    helper.join()
    runner.close()
    assert ended == Ended(128 + signal.SIGKILL, "no quorum has confirmed it for 1 s")
    pid = int((tmp_path / "pid").read_text())
    for _ in range(200):
        if not Path(f"/proc/{pid}").exists() or ") Z " in Path(f"/proc/{pid}/stat").read_text():
            return
        time.sleep(0.01)
    raise AssertionError("the command lives on")


def test_a_command_that_no_process_can_be_given_is_said_and_is_no_bug(tmp_path: Path) -> None:
    said: list[str] = []
    runner = Runner(work(tmp_path, "/bin/true", "x" * 200_000, said=said))
    assert runner.run(is_unwanted=lambda: False) == Ended(126)
    runner.close()
    assert said == ["what watches over /bin/true cannot be started: Argument list too long"]


def test_a_role_won_too_long_ago_starts_nothing(tmp_path: Path) -> None:
    runner = Runner(work(tmp_path, "/bin/sh", "-c", f"touch {tmp_path}/started", ago_s=31.0))
    ended = runner.run(is_unwanted=lambda: False)
    runner.close()
    assert ended is not None
    assert ended.lost == "it was won too long ago to start the command now"
    assert not (tmp_path / "started").exists()


class FakeSession:
    """Notes what is recalled, and whether other polities are passed over meanwhile."""

    def __init__(self, *_: object, **__: object) -> None:
        self.conductor = SimpleNamespace(passes_over_others=False)
        self.recalled: list[tuple[str, int | None, bool]] = []

    def __enter__(self) -> FakeSession:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def recall(self, role: str, *, holder: str, term: int | None, timeout_s: float) -> SimpleNamespace:
        self.recalled.append((role, term, self.conductor.passes_over_others))
        return SimpleNamespace(verdict=Verdict.RECALLED)


def test_what_was_left_held_is_given_back_whoever_else_has_joined(tmp_path: Path) -> None:
    place = str(tmp_path), "polity", "n1"
    for role, term in (("known", 7), ("not known yet", 0)):
        claimed = runs.claim(*place, role)
        assert claimed is not None
        claimed.write(role, term)
        claimed.close()
    session, said = FakeSession(), list[str]()
    give_back(session, SETTINGS._replace(state_dir=str(tmp_path)), "n1", said.append)  # type: ignore[arg-type]
    assert sorted(session.recalled, key=str) == [("known", 7, True), ("not known yet", None, True)]
    assert not session.conductor.passes_over_others
    assert len(said) == 2
    assert list(runs.orphans(*place)) == []


def test_a_run_asks_its_own_polity_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SerfClient, "connect", lambda *_, **__: nullcontext())
    monkeypatch.setattr(runner_room, "Session", FakeSession)
    with work(tmp_path, "true").session(1.0) as session:
        assert session.conductor.passes_over_others


def test_bounds_that_may_outlive_the_role_are_refused() -> None:
    bounds = Bounds(5.0, 30.0, 10.0)
    for delay_s in (0.0, 39.9, 40.0):
        with pytest.raises(BadInput) as caught:
            bounds.check(Succession("job", takeover_delay=delay_s))
        said = (
            f"--grace and --kill-grace are 40 s together, and takeover_delay of [roles.job] is {delay_s:g} s"
        )
        assert str(caught.value).startswith(said)
        assert "set takeover_delay above 40 s on all nodes" in caught.value.hint
    bounds.check(Succession("job", takeover_delay=40.1))
    bounds.check(Succession("job"))  # the defaults go together


def test_bounds_without_room_are_refused() -> None:
    Bounds(5.0, 10.0, 1.0).check()
    with pytest.raises(BadInput, match="a grace of 9 s leaves no room"):
        Bounds(5.0, 9.0, 1.0).check()


def test_a_role_is_run_once_at_a_time_and_what_it_holds_is_told_afterwards(tmp_path: Path) -> None:
    place = str(tmp_path / "new"), "polity", "n1"
    first = runs.claim(*place, "job")
    assert first is not None
    assert runs.claim(*place, "job") is None
    other = runs.claim(*place, "another job")
    assert other is not None
    first.write("job", 7)
    assert list(runs.orphans(*place)) == [], "it lives"
    first.close()
    other.close()
    assert [(role, term) for role, term, _ in runs.orphans(*place)] == [("job", 7)]
    for _, _, left in runs.orphans(*place):
        assert runs.claim(*place, "job") is None, "whoever looks has it meanwhile"
        left.clear()
    assert list(runs.orphans(*place)) == []
    assert list(runs.orphans(str(tmp_path / "none"), "polity", "n1")) == []
    assert [len(runs.paths(*place)), runs.paths(place[0], "polity", "n2")] == [2, []]


def test_a_hook_looks_at_what_was_left_behind_twice_a_minute(tmp_path: Path) -> None:
    place = str(tmp_path), "polity", "n1"
    claimed = runs.claim(*place, "job")
    assert claimed is not None
    (path,) = runs.paths(*place)
    claimed.write("job", 7)
    os.utime(path, (0, 0))
    assert not runs.is_left_behind(path), "it lives"
    claimed.close()
    assert runs.is_left_behind(path)
    assert not runs.is_left_behind(path), "somebody sees to it"
    claimed = runs.claim(*place, "job")
    assert claimed is not None
    claimed.clear()
    claimed.close()
    os.utime(path, (0, 0))
    assert not runs.is_left_behind(path), "nothing is held"
    assert not runs.is_left_behind(f"{path}.none")


@pytest.mark.parametrize("garbage", [b"", b"\0" * 40, b"{", b"[]", json.dumps({"role": "job"}).encode()])
def test_a_file_that_says_nothing_holds_nothing(tmp_path: Path, garbage: bytes) -> None:
    place = str(tmp_path), "polity", "n1"
    claimed = runs.claim(*place, "job")
    assert claimed is not None
    claimed.close()
    Path(runs.paths(*place)[0]).write_bytes(garbage)
    assert list(runs.orphans(*place)) == []


def test_a_folder_that_cannot_be_had_is_bad_configuration(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadConfiguration, match="cannot be written"):
        runs.claim(str(tmp_path / "file"), "polity", "n1", "job")
