"""What the tests of watchers share: changes, a sink that fails when told to, and a server for webhooks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from polity_cli.devcluster import wait_for
from polity_cli.edges.sinks import Undelivered
from polity_cli.edges.spool import RoleChange, Spool

POLITY = "98a52cced82cde18"
SECRET = "0123456789abcdef0123456789abcdef"


def change(role: str = "backup", term: int = 1, holder: str | None = "n1", before: int = 0) -> RoleChange:
    return RoleChange(POLITY, role, term, holder, before, "2026-01-31T12:00:00.000Z", "n9")


def take(spool: Spool, role: str, term: int, *, polity: str = POLITY) -> bool:
    """A spool is told of a tenure: odd terms are n1's, even ones vacant."""
    holder = "n1" if term % 2 else None
    return spool.take(polity, role, term, holder, seen="2026-01-31T12:00:00.000Z", node="n9")


def until(condition: Callable[[], object], what: str, timeout_s: float = 30) -> None:
    wait_for(lambda: bool(condition()), timeout_s, what)


@dataclass
class FakeSink:
    """Notes what is delivered; `fails` says of each attempt (role, term, how manieth) whether it fails."""

    name: str = "fake"
    fails: Callable[[str, int, int], bool] = lambda role, term, attempt: False
    got: list[tuple[str, int]] = field(default_factory=list)
    tried: list[tuple[str, int]] = field(default_factory=list)

    def deliver(self, change: RoleChange) -> None:
        key = (change.role, change.term)
        self.tried.append(key)
        if self.fails(*key, self.tried.count(key)):
            raise Undelivered("told to fail")
        self.got.append(key)


@dataclass(frozen=True)
class Request:
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """A server on loopback; `answer` says with which code each request is answered, and may wait."""

    answer: Callable[[Request], int] = lambda request: 204
    got: list[Request] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?token=hidden"

    @property
    def keys(self) -> list[str]:
        return [request.headers["Idempotency-Key"] for request in self.got]


@contextmanager
def receiver(answer: Callable[[Request], int] = lambda request: 204) -> Iterator[Receiver]:
    held = Receiver(answer)

    class Handler(BaseHTTPRequestHandler):
        def _take(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            request = Request(self.path, dict(self.headers), body)
            held.got.append(request)
            code = held.answer(request)
            self.send_response(code)
            if 300 <= code < 400:
                self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_POST = do_GET = _take

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    held.port = server.server_address[1]
    # Looks for its end ten times a second.
    thread = threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True)
    thread.start()
    try:
        yield held
    finally:
        server.shutdown()
        server.server_close()


def secret_file(folder: Path) -> str:
    path = folder / "secret"
    path.write_text(f"{SECRET}\n")
    return str(path)
