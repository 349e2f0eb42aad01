"""A web address as a watcher's sink: each change as a signed POST.

    Content-Type: application/json
    Idempotency-Key: 98a52cced82cde18/backup/7       polity, role (percent-encoded), term
    X-Polity-Timestamp: 1789000000                   when it was sent, in seconds since 1970
    X-Polity-Signature: sha256=...                   HMAC-SHA256 by the secret of "TIMESTAMP.BODY", in hex

Only an answer of 2xx has delivered it. Redirections are not followed: the body would go to somebody who was
not named. `requests` is imported only where there is such a sink.
"""

from __future__ import annotations

import json
import threading
from time import monotonic, time

from polity_cli.edges.sinks import Stopped, Undelivered
from polity_cli.errors import BadInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from polity_cli.edges.spool import RoleChange

CONNECT_TIMEOUT_S = 5.0
LEAST_SECRET_BYTES = 16
_TRY_AGAIN = (408, 425, 429)
_MOST_HANGING = 4
_LOOK_S = 0.1


def read_secret(path: str) -> bytes:
    """The secret in a file, without the blanks around it. Raises BadInput."""
    try:
        with open(path, "rb") as file:
            secret = file.read().strip()
    except OSError as error:
        raise BadInput(
            f"the file with the webhook's secret cannot be read: {path}: {error.strerror}",
            hint="it holds the secret alone, readable by this user: openssl rand -hex 32 makes one",
        ) from error
    if len(secret) < LEAST_SECRET_BYTES:
        raise BadInput(
            f"the webhook's secret in {path} is {len(secret)} bytes long, {LEAST_SECRET_BYTES} at least",
            hint="openssl rand -hex 32 makes a good one",
        )
    return secret


def body_of(change: RoleChange) -> bytes:
    """The bytes that are sent, the same each time."""
    return json.dumps(change.data()).encode("ascii")


def idempotency_key(change: RoleChange) -> str:
    """The same for the same tenure, whoever tells of it."""
    from urllib.parse import quote

    return f"{change.polity}/{quote(change.role, safe='')}/{change.term}"


def sign(secret: bytes, timestamp: str, body: bytes) -> str:
    """The signature's header. The time is signed too, so that nobody can send an old request as a new one."""
    import hashlib
    import hmac

    return "sha256=" + hmac.new(secret, timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


class _Attempt(threading.Thread):
    """One request, in a thread that may be left behind: `code` and `error` are what came of it."""

    def __init__(self, post: Callable[[], int], ended: Callable[[], None]) -> None:
        super().__init__(name="webhook", daemon=True)
        self._post = post
        self._ended = ended
        self.code = 0
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            self.code = self._post()
        except Exception as error:  # noqa: BLE001 - whoever waits for it raises it
            self.error = error
        finally:
            self._ended()


class WebhookSink:
    """POSTs each change to `url`; the secret is read anew each time, so that it can be changed.

    `stop` ends the wait for an answer.
    """

    name = "webhook"

    def __init__(
        self,
        url: str,
        secret_file: str,
        *,
        timeout_s: float,
        stop: threading.Event,
        now_s: Callable[[], float] = time,
    ) -> None:
        import requests

        self._requests = requests
        self._url = url
        self._secret_file = secret_file
        self._timeout_s = timeout_s
        self._stop = stop
        self._now_s = now_s
        self._hanging = threading.Semaphore(_MOST_HANGING)

    def deliver(self, change: RoleChange) -> None:
        if not self._hanging.acquire(blocking=False):
            raise Undelivered(f"{self._place()}: {_MOST_HANGING} earlier requests have still not ended")
        attempt = _Attempt(lambda: self._post(change), self._hanging.release)
        attempt.start()
        # Neither looking up a name nor an answer that comes letter by letter has a limit of its own.
        until_s = monotonic() + CONNECT_TIMEOUT_S + self._timeout_s
        while attempt.is_alive():
            attempt.join(_LOOK_S)
            if self._stop.is_set():
                raise Stopped
            if monotonic() >= until_s:
                raise Undelivered(f"{self._place()}: no answer for {self._timeout_s:g} s")
        if attempt.error is not None:
            raise attempt.error
        if 200 <= attempt.code < 300:
            return
        if 400 <= attempt.code < 500 and attempt.code not in _TRY_AGAIN:
            raise Undelivered(
                f"{self._place()} refuses it with {attempt.code}: see what it wants; it is kept"
            )
        raise Undelivered(f"{self._place()} answers {attempt.code}")

    def _post(self, change: RoleChange) -> int:
        from polity_cli import __version__

        try:
            secret = read_secret(self._secret_file)
        except BadInput as error:
            raise Undelivered(str(error)) from error
        body, timestamp = body_of(change), str(int(self._now_s()))
        try:
            # A connection of its own each time: changes are rare, and a kept one is dead by the next.
            answer = self._requests.post(
                self._url,
                data=body,
                headers={
                    "Content-Type": "application/json",
                    "User-Agent": f"polity/{__version__}",
                    "Idempotency-Key": idempotency_key(change),
                    "X-Polity-Timestamp": timestamp,
                    "X-Polity-Signature": sign(secret, timestamp, body),
                },
                timeout=(min(CONNECT_TIMEOUT_S, self._timeout_s), self._timeout_s),
                allow_redirects=False,
                # Nobody reads what is answered, however long it is.
                stream=True,
            )
        # Not all that can be wrong with an address or an answer is a RequestException.
        except (self._requests.RequestException, OSError, ValueError) as error:
            raise Undelivered(f"{self._place()}: {_short(error)}") from error
        with answer:
            return answer.status_code

    def _place(self) -> str:
        """Where it goes, without what may be a secret in the address."""
        from urllib.parse import urlsplit

        return urlsplit(self._url).hostname or "the webhook"


def _short(error: BaseException) -> str:
    """The innermost reason: the outer ones repeat the whole address."""
    seen: set[int] = set()
    while id(error) not in seen:
        seen.add(id(error))
        inner = getattr(error, "reason", None) or next(
            (arg for arg in error.args if isinstance(arg, BaseException)), None
        )
        if not isinstance(inner, BaseException):
            break
        error = inner
    text = getattr(error, "strerror", None) or str(error)
    return text.rpartition(": ")[2].rpartition("] ")[2] or type(error).__name__
