"""What a watcher has seen and not delivered yet, and how far each of its sinks has come: one file.

    {"version": 1, "polity": "98a5...", "sinks": {
        "webhook": {"delivered": {"backup": 7}, "pending": [a change, a change]}}}

A change is taken in durably before anybody tries to deliver it, and taken out after that. So it is delivered
once more after a crash in between, and never lost. The file is replaced as a whole; a lock beside it, the
kernel's, keeps two watchers from using it at the same time.

Terms are those of one polity. Where another one is met (it was dissolved and founded anew, or rescued) what
was delivered of the old one says nothing any more, and is forgotten.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import threading

from polity_cli.core.record import Record
from polity_cli.errors import BadConfiguration, Busy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MOST_PENDING = 1000
"""Beyond this a sink's oldest changes that have a newer one of the same role behind them are given up."""

_VERSION = 1


class RoleChange(Record):
    """A role was seen in a newer term than before. `seen` is a time of day in UTC, `node` who saw it.

    `previous_term` is the newest term that the sink was told of before, 0 if none; terms in between were not
    seen.
    """

    polity: str
    role: str
    term: int
    holder: str | None
    previous_term: int
    seen: str
    node: str

    def data(self) -> dict[str, object]:
        """The object that sinks are told."""
        return {
            "command": "watch",
            "role": self.role,
            "term": self.term,
            "holder": self.holder,
            "previous_term": self.previous_term,
            "seen": self.seen,
            "node": self.node,
            "polity": self.polity,
        }


class _Shelf(Record):
    """One sink's part: the newest delivered term of each role, and what is to be delivered, in order."""

    delivered: Mapping[str, int]
    pending: tuple[RoleChange, ...] = ()

    def newest(self, polity: str) -> dict[str, int]:
        """The newest term of each role that the sink was told of, or will be."""
        return {**self.delivered, **{c.role: c.term for c in self.pending if c.polity == polity}}


class Spool:
    """The changes for some sinks, by name; without a path they are kept in memory alone. Thread-safe.

    `since` has the terms to begin after, for roles of which the file knows nothing. `arrived` is notified
    when there is something new to deliver. `given_up` counts changes that there was no more room for.
    Raises Busy if another process has the file, BadConfiguration if it cannot be used.
    """

    def __init__(
        self, path: str | None, sinks: Iterable[str], since: Mapping[str, int] | None = None
    ) -> None:
        self.arrived = threading.Condition()
        self.given_up = 0
        self.polity = ""
        self._path = None if path is None else os.path.realpath(path)
        self._others: dict[str, object] = {}
        self._shelves: dict[str, _Shelf] = {}
        self._lock: int | None = None
        if self._path is not None:
            try:
                os.makedirs(os.path.dirname(self._path), mode=0o700, exist_ok=True)
                self._lock = _lock(self._path)
                self._read(self._path)
            except OSError as error:
                unusable = _unusable(self._path, error)
                self.close()
                raise unusable from error
            except BaseException:
                self.close()
                raise
        # What is kept for sinks that are not used this time waits for them.
        self._others = {name: _as_json(shelf) for name, shelf in self._shelves.items()}
        known = {name: self._shelves.get(name, _Shelf({})) for name in sinks}
        self._shelves = {
            name: shelf._replace(delivered={**(since or {}), **shelf.delivered})
            for name, shelf in known.items()
        }

    def close(self) -> None:
        """Give the file to others. Who is still at a delivery can write nothing more over what they write."""
        with self.arrived:
            self._path = None
            if self._lock is not None:
                os.close(self._lock)
                self._lock = None

    @property
    def newest(self) -> dict[str, int]:
        """The newest term of each role that every sink was told of, or will be."""
        with self.arrived:
            told = [shelf.newest(self.polity) for shelf in self._shelves.values()]
        every = [role for role in (told[0] if told else ()) if all(role in one for one in told)]
        return {role: min(one[role] for one in told) for role in every}

    def pending(self, sink: str) -> tuple[RoleChange, ...]:
        """What is to be delivered to a sink, in order. `arrived` may be held, and need not."""
        shelf = self._shelves.get(sink)
        return () if shelf is None else shelf.pending

    def delivered(self, sink: str) -> Mapping[str, int]:
        """The newest term of each role that was delivered to a sink."""
        return self._shelves[sink].delivered

    def is_another(self, polity: str) -> bool:
        """True if what was delivered is of another polity than this one."""
        return self.polity not in ("", polity)

    def take(self, polity: str, role: str, term: int, holder: str | None, *, seen: str, node: str) -> bool:
        """Note a tenure for every sink that has not heard of it; True if it was news to any.

        It is on the disk when this returns. Raises BadConfiguration, and then nothing was taken.
        """
        with self.arrived:
            shelves = dict(self._shelves)
            if self.is_another(polity):
                shelves = {name: shelf._replace(delivered={}) for name, shelf in shelves.items()}
            given_up = 0
            for name, shelf in shelves.items():
                before = shelf.newest(polity).get(role, 0)
                if term > before:
                    change = RoleChange(polity, role, term, holder, before, seen, node)
                    pending, lost = _with_room((*shelf.pending, change))
                    shelves[name] = shelf._replace(pending=pending)
                    given_up += lost
            is_news = any(shelf.pending != self._shelves[name].pending for name, shelf in shelves.items())
            if is_news or polity != self.polity:
                self._write(polity, shelves)
                self.polity, self._shelves = polity, shelves
                self.given_up += given_up
            if is_news:
                self.arrived.notify_all()
            return is_news

    def done(self, sink: str, change: RoleChange) -> None:
        """A change was delivered. Raises BadConfiguration if that cannot be written down.

        Then it is not repeated while this process lives, and written with whatever comes next.
        """
        with self.arrived:
            if sink not in self._shelves:
                return
            shelf = self._shelves[sink]
            delivered = dict(shelf.delivered)
            if change.polity == self.polity:
                delivered[change.role] = max(change.term, delivered.get(change.role, 0))
            pending = tuple(other for other in shelf.pending if other != change)
            self._shelves[sink] = _Shelf(delivered, pending)
            self._write(self.polity, self._shelves)

    def drop(self, sink: str) -> None:
        """Keep no more for a sink, this time: it is gone."""
        with self.arrived:
            shelf = self._shelves.pop(sink, None)
            if shelf is not None:
                self._others[sink] = _as_json(shelf)

    def _write(self, polity: str, shelves: Mapping[str, _Shelf]) -> None:
        if self._path is None:
            return
        sinks = {**self._others, **{name: _as_json(shelf) for name, shelf in shelves.items()}}
        data = json.dumps({"version": _VERSION, "polity": polity, "sinks": sinks}).encode()
        try:
            _replace(self._path, data)
        except OSError as error:
            raise _unusable(self._path, error) from error

    def _read(self, path: str) -> None:
        try:
            with open(path, "rb") as file:
                data = file.read()
        except FileNotFoundError:
            return
        try:
            found = json.loads(data)
            version = found["version"]
            if version == _VERSION:
                self.polity = _text(found["polity"])
                self._shelves = {_text(name): _shelf(part) for name, part in found["sinks"].items()}
                return
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BadConfiguration(
                f"{path} is damaged, or no watcher's: {type(error).__name__}: {error}",
                hint="move it away: then every role is reported once more, and what was pending is lost",
            ) from None
        raise BadConfiguration(
            f"{path} is of version {version!r}; this program knows version {_VERSION}",
            hint="use the polity that wrote it, or another file",
        )


def _with_room(pending: tuple[RoleChange, ...]) -> tuple[tuple[RoleChange, ...], int]:
    """At most MOST_PENDING changes, unless more roles than that wait; and how many were given up."""
    kept = list(pending)
    while len(kept) > MOST_PENDING:
        last = {change.role: at for at, change in enumerate(kept)}
        oldest = next((at for at, change in enumerate(kept) if last[change.role] != at), None)
        if oldest is None:
            break
        del kept[oldest]
    return tuple(kept), len(pending) - len(kept)


def _as_json(shelf: _Shelf) -> dict[str, object]:
    return {
        "delivered": dict(shelf.delivered),
        "pending": [change._asdict() for change in shelf.pending],
    }


def _shelf(part: dict[str, object]) -> _Shelf:
    """A sink's part as it was written; raises what a damaged file makes of it."""
    delivered, pending = part["delivered"], part["pending"]
    if not isinstance(delivered, dict) or not isinstance(pending, list):
        raise TypeError("a sink's part is an object and a list")
    terms = {_text(role): _whole(term) for role, term in delivered.items()}
    return _Shelf(terms, tuple(_change(**entry) for entry in pending))


def _change(
    polity: object,
    role: object,
    term: object,
    holder: object,
    previous_term: object,
    seen: object,
    node: object,
) -> RoleChange:
    return RoleChange(
        _text(polity),
        _text(role),
        _whole(term),
        None if holder is None else _text(holder),
        _whole(previous_term),
        _text(seen),
        _text(node),
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"a text was expected, not {value!r}")
    return value


def _whole(value: object) -> int:
    if type(value) is not int or value < 0:
        raise TypeError(f"a term was expected, not {value!r}")
    return value


def _lock(path: str) -> int:
    fd = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise Busy(
            f"another watcher uses {path}",
            hint=f"end it, or give this one a file of its own; see who: fuser -v {path}.lock",
        ) from None
    return fd


def _replace(path: str, data: bytes) -> None:
    """Replace a file so that after a crash the old one or the new one is there, whole."""
    fresh = f"{path}.new"
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(fd, rest) :]
        os.fsync(fd)
        os.rename(fresh, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(fresh)
        raise
    finally:
        os.close(fd)
    folder = os.open(os.path.dirname(path), os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _unusable(path: str, error: OSError) -> BadConfiguration:
    return BadConfiguration(
        f"what was seen and delivered cannot be kept in {path}: {error.strerror or error}",
        hint="make room on the disk, or check the rights of the file and its folder",
    )
