"""Webhooks: what is sent, what counts as delivered, and that nothing is lost while nobody takes it."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from polity_cli.cli.shapes import mismatches
from polity_cli.courier import Courier
from polity_cli.edges import webhook
from polity_cli.edges.sinks import Stopped, Undelivered
from polity_cli.edges.spool import RoleChange, Spool
from polity_cli.edges.webhook import WebhookSink, idempotency_key, read_secret
from polity_cli.errors import BadInput
from tests.watching import POLITY, SECRET, Receiver, Request, change, receiver, secret_file, take, until


@pytest.fixture(autouse=True)
def _directly(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)


def sink_of(server: Receiver, folder: Path, *, timeout_s: float = 5) -> WebhookSink:
    return WebhookSink(server.url, secret_file(folder), timeout_s=timeout_s, stop=threading.Event())


@contextmanager
def serving(sink: WebhookSink, spool: Spool) -> Iterator[list[str]]:
    stop, said = threading.Event(), list[str]()
    courier = Courier(sink, spool, stop=stop, say=said.append, first_retry_s=0.01, longest_retry_s=0.05)
    courier.start()
    try:
        yield said
    finally:
        stop.set()
        courier.nudge()
        courier.join(30)
        assert not courier.is_alive()


def test_a_change_is_sent_as_signed_json(tmp_path: Path) -> None:
    with receiver() as server:
        sink_of(server, tmp_path).deliver(change("back/up ä", 7, "n1", before=4))
    (request,) = server.got
    told = json.loads(request.body)
    assert mismatches(told) == []
    assert (told["role"], told["term"], told["holder"], told["previous_term"]) == ("back/up ä", 7, "n1", 4)
    headers = request.headers
    assert headers["Content-Type"] == "application/json"
    assert headers["Idempotency-Key"] == f"{POLITY}/back%2Fup%20%C3%A4/7"
    # As a receiver would check it, with nothing of ours.
    stamp = headers["X-Polity-Timestamp"]
    assert abs(int(stamp) - time.time()) < 60
    signed = hmac.new(SECRET.encode(), f"{stamp}.".encode() + request.body, hashlib.sha256)
    assert headers["X-Polity-Signature"] == f"sha256={signed.hexdigest()}"


def test_each_try_has_the_same_body_and_key_and_the_time_it_is_sent_at(tmp_path: Path) -> None:
    now = [1_789_000_000.9]
    with receiver() as server:
        sink = WebhookSink(
            server.url, secret_file(tmp_path), timeout_s=5, stop=threading.Event(), now_s=lambda: now[0]
        )
        sink.deliver(change())
        now[0] += 100
        sink.deliver(change())
    first, second = server.got
    assert first.body == second.body
    assert server.keys == [idempotency_key(change())] * 2
    assert [r.headers["X-Polity-Timestamp"] for r in server.got] == ["1789000000", "1789000100"]
    assert first.headers["X-Polity-Signature"] != second.headers["X-Polity-Signature"]


@pytest.mark.parametrize("code", [200, 201, 202, 204])
def test_any_2xx_has_delivered_it(tmp_path: Path, code: int) -> None:
    with receiver(lambda request: code) as server:
        sink_of(server, tmp_path).deliver(change())


@pytest.mark.parametrize("code", [301, 302, 303, 307, 400, 401, 404, 408, 410, 425, 429, 500, 502, 503])
def test_anything_else_has_not(tmp_path: Path, code: int) -> None:
    with receiver(lambda request: code) as server, pytest.raises(Undelivered, match=str(code)) as caught:
        sink_of(server, tmp_path).deliver(change())
    assert len(server.got) == 1, "a redirection was followed"
    assert ("refuses" in str(caught.value)) == (code in (400, 401, 404, 410))
    assert "hidden" not in str(caught.value), "the address may have a secret in it"


def test_whoever_is_silent_too_long_or_not_there_has_not_got_it(tmp_path: Path) -> None:
    free = threading.Event()

    def hang(request: Request) -> int:
        free.wait(20)
        return 204

    with receiver(hang) as server:
        with pytest.raises(Undelivered, match="timed out"):
            sink_of(server, tmp_path, timeout_s=0.2).deliver(change())
        free.set()
        # Slow is not silent.
        sink_of(server, tmp_path).deliver(change())
    with pytest.raises(Undelivered, match="refused") as caught:
        sink_of(server, tmp_path).deliver(change())
    assert "hidden" not in str(caught.value)


@contextmanager
def answering(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server of few words: `answer` gets each connection; the address is given."""

    def serve() -> None:
        while True:
            try:
                caller, _ = listening.accept()
            except OSError:
                return
            with caller, suppress(OSError):
                caller.recv(65536)
                answer(caller)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join(30)


def plain_sink(url: str, folder: Path, timeout_s: float = 5) -> WebhookSink:
    return WebhookSink(url, secret_file(folder), timeout_s=timeout_s, stop=threading.Event())


def test_what_answers_nonsense_has_not_got_it(tmp_path: Path) -> None:
    with (
        answering(lambda caller: caller.sendall(b"SSH-2.0-nonsense\r\n\r\n")) as url,
        pytest.raises(Undelivered),
    ):
        plain_sink(url, tmp_path).deliver(change())


def test_a_long_answer_is_not_read(tmp_path: Path) -> None:
    over = threading.Event()

    def answer(caller: socket.socket) -> None:
        caller.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\nx")
        over.wait(20)

    with answering(answer) as url:
        plain_sink(url, tmp_path).deliver(change())
        over.set()


def test_an_answer_that_comes_letter_by_letter_is_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook, "CONNECT_TIMEOUT_S", 0.2)
    over = threading.Event()

    def drip(caller: socket.socket) -> None:
        caller.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        while not over.wait(0.05):
            caller.sendall(b"x")

    with answering(drip) as url:
        sink = plain_sink(url, tmp_path, timeout_s=0.3)
        with pytest.raises(Undelivered, match=r"no answer for 0\.3 s"):
            sink.deliver(change())
        over.set()


def test_requests_that_hang_are_few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = threading.Event()
    sink = plain_sink("http://127.0.0.1:1/", tmp_path, timeout_s=0.01)
    monkeypatch.setattr(webhook, "CONNECT_TIMEOUT_S", 0.01)
    begun: list[int] = []

    def hang(change: RoleChange) -> int:
        begun.append(1)
        free.wait(20)
        return 204

    monkeypatch.setattr(sink, "_post", hang)
    for _ in range(4):
        with pytest.raises(Undelivered, match="no answer"):
            sink.deliver(change())
    with pytest.raises(Undelivered, match="4 earlier requests"):
        sink.deliver(change())
    assert len(begun) == 4
    free.set()

    def goes() -> bool:
        with suppress(Undelivered):
            sink.deliver(change())
            return True
        return False

    until(goes, "those that hung to end")


def test_to_stop_does_not_wait_for_an_answer(tmp_path: Path) -> None:
    free, stop = threading.Event(), threading.Event()

    def hang(request: Request) -> int:
        stop.set()
        free.wait(20)
        return 204

    with receiver(hang) as server:
        sink = WebhookSink(server.url, secret_file(tmp_path), timeout_s=20, stop=stop)
        with pytest.raises(Stopped):
            sink.deliver(change())
        free.set()


def test_failures_are_repeated_in_order_until_all_is_delivered(tmp_path: Path) -> None:
    codes = iter([500, 503, 429, 404, 200, 500])
    spool = Spool(None, ("webhook",))
    with receiver(lambda request: next(codes, 204)) as server:
        with serving(sink_of(server, tmp_path), spool) as said:
            for term in (1, 2, 3):
                take(spool, "backup", term)
            until(lambda: spool.delivered("webhook") == {"backup": 3}, "all of them")
        terms = [json.loads(request.body)["term"] for request in server.got]
    assert terms == [1, 1, 1, 1, 1, 2, 2, 3]
    assert any("not delivered yet" in line for line in said)


def test_nothing_is_lost_while_nobody_is_there_and_the_watcher_starts_anew(tmp_path: Path) -> None:
    path = str(tmp_path / "state")
    with receiver() as server:
        pass  # its port is free again, and nobody answers there
    spool = Spool(path, ("webhook",))
    with serving(sink_of(server, tmp_path), spool) as said:
        for term in (1, 2):
            take(spool, "backup", term)
        until(lambda: said, "a complaint")
    spool.close()
    with receiver() as another:
        spool = Spool(path, ("webhook",))
        with serving(sink_of(another, tmp_path), spool):
            take(spool, "backup", 3)
            until(lambda: spool.delivered("webhook") == {"backup": 3}, "all of them")
        assert another.keys == [f"{POLITY}/backup/{term}" for term in (1, 2, 3)]


def test_an_answer_that_is_lost_makes_it_come_twice_with_one_key(tmp_path: Path) -> None:
    spool = Spool(None, ("webhook",))
    came, again = threading.Event(), threading.Event()

    def answer(request: Request) -> int:
        if came.is_set():
            again.set()
        came.set()
        again.wait(20)  # longer than it is waited for
        return 204

    with receiver(answer) as server:
        with serving(sink_of(server, tmp_path, timeout_s=0.2), spool):
            take(spool, "backup", 1)
            until(lambda: spool.delivered("webhook") == {"backup": 1}, "it")
        assert server.keys == [f"{POLITY}/backup/1"] * 2


# The secret.


def test_the_secret_may_be_changed_while_it_runs(tmp_path: Path) -> None:
    with receiver() as server:
        sink = sink_of(server, tmp_path)
        sink.deliver(change())
        (tmp_path / "secret").unlink()
        with pytest.raises(Undelivered, match="cannot be read"):
            sink.deliver(change())
        (tmp_path / "secret").write_text("another secret of some length")
        sink.deliver(change())
    stamp, body = server.got[1].headers["X-Polity-Timestamp"], server.got[1].body
    signed = hmac.new(b"another secret of some length", f"{stamp}.".encode() + body, "sha256").hexdigest()
    assert server.got[1].headers["X-Polity-Signature"] == f"sha256={signed}"


@pytest.mark.parametrize(
    ("text", "said"), [(None, "cannot be read"), ("", "0 bytes"), ("short\n", "5 bytes")]
)
def test_a_secret_that_is_none_is_refused(tmp_path: Path, text: str | None, said: str) -> None:
    path = tmp_path / "secret"
    if text is not None:
        path.write_text(text)
    with pytest.raises(BadInput, match=said) as caught:
        read_secret(str(path))
    assert "openssl rand" in caught.value.hint


# What it costs those who do not use it.


def test_requests_is_imported_only_where_there_is_a_webhook(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from polity_cli import agent, watch\n"
        "from polity_cli.cli import watch as command\n"
        "from polity_cli.edges.webhook import WebhookSink\n"
        "print('requests' in sys.modules)\n"
        "WebhookSink('http://127.0.0.1:1/', sys.argv[1], timeout_s=1, stop=None)\n"
        "print('requests' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, secret_file(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", "True"]
