"""The hook as a process of its own: what it prints (the answer, or nothing at all) and what it remembers."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgpack
import pytest

from polity_cli import hook
from polity_cli.core import messages as m
from polity_cli.core.ballot import ZERO, Ballot
from polity_cli.core.electorate import Enrolled, founding_record
from polity_cli.core.messages import Register
from polity_cli.core.quorum import QuorumPercentage
from polity_cli.core.tenure import VACANT
from polity_cli.core.voter import Self
from polity_cli.edges import wire
from polity_cli.edges.ledger import Ledger, ledger_path

POLITY = b"pol-ity1"
ATTEMPT = b"attempt1"
NODE = "n1"


@dataclass(frozen=True, slots=True)
class Heard:
    """What Serf would have got from the hook."""

    code: int
    out: bytes
    err: bytes


@dataclass(frozen=True, slots=True)
class Desk:
    """A node's state directory, and the hook as Serf would start it there."""

    state_dir: Path
    log: Path

    @property
    def ledger_file(self) -> Path:
        return Path(ledger_path(str(self.state_dir), "polity", NODE))

    def env(self, **changes: str | None) -> dict[str, str]:
        kept = {key: os.environ[key] for key in ("PATH", "HOME", "LANG") if key in os.environ}
        env: dict[str, str | None] = {
            **kept,
            "SERF_EVENT": "query",
            "SERF_QUERY_NAME": "polity",
            "SERF_QUERY_LTIME": "7",
            "SERF_SELF_NAME": NODE,
            "POLITY_STATE_DIR": str(self.state_dir),
            "POLITY_NAMESPACE": "polity",
            "POLITY_CONFIG": os.devnull,
            "POLITY_HOOK_LOG": str(self.log),
            **changes,
        }
        return {key: value for key, value in env.items() if value is not None}

    @contextmanager
    def start(self, payload: bytes, **changes: str | None) -> Iterator[subprocess.Popen[bytes]]:
        """The hook with this payload and the new line that Serf adds on its stdin; killed at the end."""
        reading, writing = os.pipe()
        os.write(writing, payload if payload.endswith(b"\n") else payload + b"\n")
        os.close(writing)
        try:
            hook = subprocess.Popen(
                [sys.executable, "-m", "polity_cli.hook"],
                stdin=reading,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=self.env(**changes),
            )
        finally:
            os.close(reading)
        with hook:
            try:
                yield hook
            finally:
                hook.kill()

    def run(self, payload: bytes, **changes: str | None) -> Heard:
        with self.start(payload, **changes) as hook:
            out, err = hook.communicate(timeout=60)
        return Heard(hook.returncode, out, err)

    def ask(self, query: m.Query) -> m.Reply:
        heard = self.run(wire.encode(query))
        assert (heard.code, heard.err) == (0, b""), self.said()
        return wire.decode_reply(heard.out)

    def said(self) -> str:
        return self.log.read_text() if self.log.exists() else ""

    def ledger(self) -> Ledger:
        ledger = Ledger.open(str(self.ledger_file), NODE)
        assert ledger is not None
        return ledger

    def register(self, role: str = "leader") -> Register:
        with closing(self.ledger()) as ledger:
            assert ledger.check() == []
            return ledger.register(role)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A state directory without a ledger yet."""
    return Desk(tmp_path / "state", tmp_path / "hook.log")


@pytest.fixture
def founded(desk: Desk) -> Desk:
    """A state directory whose ledger has entered a polity of one."""
    with closing(desk.ledger()) as ledger:
        record = founding_record(POLITY, [Enrolled(ledger.me().voter, NODE)], QuorumPercentage(0.5, 1))
        data = wire.encode_record(record)
        digest = wire.digest(data)
        with ledger.transaction("") as turn:
            for at, page in enumerate(wire.pages(data)):
                turn.save_page(digest, at, len(wire.pages(data)), page)
            turn.enter(Self(ledger.me().voter, POLITY, 1, digest))
    return desk


def prepare(number: int) -> m.Prepare:
    return m.Prepare(ATTEMPT, POLITY, 1, "leader", Ballot(number, ATTEMPT))


def test_the_answer_is_all_that_is_printed_and_the_ledger_has_it(founded: Desk) -> None:
    reply = founded.ask(prepare(1))
    assert isinstance(reply, m.State)
    assert reply.promised == Ballot(1, ATTEMPT)
    assert founded.register() == Register(promised=Ballot(1, ATTEMPT))
    assert founded.said() == ""


def test_the_first_question_makes_the_ledger_and_the_voter(desk: Desk) -> None:
    first, second = (desk.ask(m.Fetch(ATTEMPT, b"", 0)) for _ in range(2))
    assert isinstance(first, m.Page)
    assert first.pages == 0
    assert first == second
    with closing(desk.ledger()) as ledger:
        assert ledger.me().voter == first.voter


def test_an_announcement_is_remembered_and_not_answered(founded: Desk) -> None:
    tenure = VACANT.filled_by("n2", b"claim--1")
    news = m.Announce(POLITY, 1, "leader", Ballot(3, b"proposer"), tenure)
    heard = founded.run(
        wire.encode(news),
        SERF_EVENT="user",
        SERF_QUERY_NAME=None,
        SERF_USER_EVENT="polity",
        SERF_USER_LTIME="9",
    )
    assert heard == Heard(0, b"", b"")
    assert founded.register().confirmed == tenure


GARBAGE = {
    "nothing": b"",
    "a new line": b"\n",
    "text": b"deploy now",
    "json": b'{"version": 1}',
    "random": random.Random(1).randbytes(600),
    "another msgpack": msgpack.packb({"a": [1, 2, 3]}),
    "a future version": msgpack.packb([wire.VERSION + 1, 1, ATTEMPT, POLITY, 1, "leader"]),
    "an unknown kind": msgpack.packb([wire.VERSION, 99, ATTEMPT]),
    "too few fields": msgpack.packb([wire.VERSION, 1, ATTEMPT]),
    "a reply": wire.encode(m.Refusal(ATTEMPT, b"voter--1", POLITY, 1, b"", m.BEHIND)),
    "two messages": wire.encode(prepare(9)) * 2,
    "far too long": wire.encode(prepare(9)) + b"x" * 100_000,
    "deep": b"\x91" * 5000,
}


@pytest.mark.parametrize("payload", GARBAGE.values(), ids=GARBAGE)
def test_what_makes_no_sense_is_logged_and_neither_answered_nor_remembered(
    founded: Desk, payload: bytes
) -> None:
    before = founded.register()
    heard = founded.run(payload[:60_000])
    assert heard == Heard(1, b"", b"")
    assert len(founded.said().splitlines()) == 1
    assert "Garbled" in founded.said() or "FutureVersion" in founded.said()
    assert len(founded.said()) < 500
    assert founded.register() == before


def test_a_damaged_ledger_is_no_vote_and_stays_as_it_is(founded: Desk) -> None:
    for beside in ("-wal", "-shm"):
        Path(f"{founded.ledger_file}{beside}").unlink(missing_ok=True)
    founded.ledger_file.write_bytes(b"no ledger at all" * 1000)
    assert founded.run(wire.encode(prepare(1))) == Heard(1, b"", b"")
    assert "damaged" in founded.said()
    assert founded.ledger_file.read_bytes() == b"no ledger at all" * 1000


def test_a_ledger_of_another_node_is_no_vote(founded: Desk) -> None:
    copy = ledger_path(str(founded.state_dir), "polity", "n2")
    with closing(founded.ledger()) as ledger:
        ledger.check()
    founded.ledger_file.rename(copy)
    assert founded.run(wire.encode(prepare(1)), SERF_SELF_NAME="n2") == Heard(1, b"", b"")
    assert "belongs to the node 'n1'" in founded.said()


@pytest.mark.parametrize("kind", ["below a file", "in proc"])
def test_a_state_directory_that_cannot_be_written_is_no_vote(desk: Desk, tmp_path: Path, kind: str) -> None:
    # Not by file modes: the tests may run as root, who is above them.
    if kind == "below a file":
        (tmp_path / "file").write_text("")
        folder = str(tmp_path / "file" / "state")
    else:
        folder = "/proc/polity"
    heard = desk.run(wire.encode(m.Fetch(ATTEMPT, b"", 0)), POLITY_STATE_DIR=folder)
    assert heard == Heard(1, b"", b"")
    assert "cannot be opened for writing" in desk.said()


@pytest.mark.parametrize(
    "changes",
    [
        {"SERF_QUERY_NAME": "deploy"},
        {"SERF_EVENT": "member-join", "SERF_QUERY_NAME": None},
        {"SERF_EVENT": "user", "SERF_QUERY_NAME": None, "SERF_USER_EVENT": "deploy"},
        {"SERF_SELF_NAME": None},
    ],
    ids=["another query", "a member event", "another user event", "no node name"],
)
def test_events_that_are_nobodys_business_here_are_passed_over(
    founded: Desk, changes: dict[str, str | None]
) -> None:
    assert founded.run(wire.encode(prepare(1)), **changes) == Heard(0, b"", b"")
    assert founded.said() == ""
    assert founded.register() == Register()


def test_started_by_hand_it_says_in_the_log_what_it_is(desk: Desk) -> None:
    heard = desk.run(b"", SERF_EVENT=None, SERF_QUERY_NAME=None, SERF_SELF_NAME=None)
    assert heard == Heard(1, b"", b"")
    assert "polity serf-config" in desk.said()


def test_a_bad_namespace_or_configuration_is_no_vote(desk: Desk, tmp_path: Path) -> None:
    assert desk.run(b"x", POLITY_NAMESPACE="no blanks allowed") == Heard(1, b"", b"")
    assert "cannot be used" in desk.said()
    bad = tmp_path / "bad.toml"
    bad.write_text("state_dir = [")
    assert desk.run(b"x", POLITY_NAMESPACE=None, POLITY_CONFIG=str(bad)) == Heard(1, b"", b"")
    assert "is not TOML" in desk.said()


def test_a_log_that_cannot_be_written_makes_no_noise_either(desk: Desk, tmp_path: Path) -> None:
    assert desk.run(b"garbage", POLITY_HOOK_LOG=str(tmp_path)) == Heard(1, b"", b"")


def test_settings_come_from_the_configuration_file_where_the_environment_has_none(
    desk: Desk, tmp_path: Path
) -> None:
    config = tmp_path / "polity.toml"
    config.write_text(f'state_dir = "{tmp_path / "elsewhere"}"\nnamespace = "lab"\n')
    unset: dict[str, str | None] = {"POLITY_STATE_DIR": None, "POLITY_NAMESPACE": None}
    heard = desk.run(
        wire.encode(m.Fetch(ATTEMPT, b"", 0)), POLITY_CONFIG=str(config), SERF_QUERY_NAME="lab", **unset
    )
    assert heard.code == 0, desk.said()
    assert Path(ledger_path(str(tmp_path / "elsewhere"), "lab", NODE)).exists()


def test_a_hook_killed_at_any_instant_leaves_a_sound_ledger_that_never_goes_back(founded: Desk) -> None:
    draw = random.Random(20260)
    started = time.monotonic()
    founded.ask(prepare(1))
    usual_s = time.monotonic() - started
    promised, answered, unanswered, longest_s = 1, 0, 0, usual_s
    for number in range(2, 32):
        with founded.start(wire.encode(prepare(number))) as hook:
            try:
                hook.wait(draw.uniform(0.0, longest_s))
            except subprocess.TimeoutExpired:
                hook.kill()
            out, err = hook.communicate()
        assert err == b""
        after = founded.register()
        assert after.accepted == ZERO
        assert after.promised in (Ballot(promised, ATTEMPT), Ballot(number, ATTEMPT)), number
        if out:
            reply = wire.decode_reply(out)
            assert isinstance(reply, m.State)
            assert reply.promised == after.promised == Ballot(number, ATTEMPT)
            answered += 1
            longest_s *= 0.8
        else:
            unanswered += 1
            longest_s *= 1.15
        promised = after.promised.round
    assert answered, "every hook was killed before it answered"
    assert unanswered, "no hook was killed in time"


def test_a_hook_stopped_at_any_instant_overwrites_nothing_when_it_goes_on(founded: Desk) -> None:
    draw = random.Random(20261)
    started = time.monotonic()
    founded.ask(prepare(1))
    usual_s = time.monotonic() - started
    overtaken = 0
    for number in range(10, 200, 20):
        with founded.start(wire.encode(prepare(number))) as slow:
            # The first is stopped at once, so that one at least has not come to the ledger.
            wait_s = 0.0 if number == 10 else draw.uniform(0.3 * usual_s, 1.1 * usual_s)
            time_is_up = time.monotonic() + wait_s
            while time.monotonic() < time_is_up and slow.poll() is None:
                time.sleep(0.001)
            if slow.poll() is None:
                slow.send_signal(signal.SIGSTOP)
            # It may be stopped with the ledger's lock in its hands: then this one gives no answer.
            fast = founded.run(wire.encode(prepare(number + 10)))
            assert fast.code == (0 if fast.out else 1), founded.said()
            if slow.poll() is None:
                slow.send_signal(signal.SIGCONT)
            out, _ = slow.communicate(timeout=60)
        expected = Ballot(number + 10 if fast.out else number, ATTEMPT)
        assert founded.register().promised == expected
        for answer in filter(None, (out, fast.out)):
            reply = wire.decode_reply(answer)
            assert isinstance(reply, m.State)
            assert reply.promised <= expected
        if out and fast.out:
            last = wire.decode_reply(out)
            assert isinstance(last, m.State)
            overtaken += last.promised == expected
    assert overtaken, "no hook was ever stopped before it came to the ledger"


# Roles, when nodes come or go.


@pytest.mark.parametrize("event", ["member-failed", "member-leave", "member-reap", "member-join"])
def test_roles_are_looked_after_by_a_process_of_their_own_when_nodes_come_or_go(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, event: str
) -> None:
    started: list[list[str]] = []
    config = tmp_path / "polity.toml"
    monkeypatch.setattr(hook, "_hand_over", started.append)
    for name, value in desk.env(SERF_EVENT=event, POLITY_CONFIG=str(config)).items():
        monkeypatch.setenv(name, value)
    for text, expected in (
        ("[voters]\n", []),
        ("[roles.x]\n", [["succeed", "--state-dir", str(desk.state_dir), "--namespace", "polity"]]),
    ):
        config.write_text(text)
        assert hook._reply_to_event() is None
        assert started == expected
    assert not desk.ledger_file.exists(), "nothing is made for a member's sake"


def test_a_query_does_not_ask_whether_there_are_roles(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "polity.toml"
    config.write_text("nonsense")
    heard = desk.run(wire.encode(m.Read(ATTEMPT, b"", 0, "")), POLITY_CONFIG=str(config))
    assert heard.out, desk.said()
