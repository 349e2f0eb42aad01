"""What runs on this node: a file for each role that is run here, locked while it is, and what is held in it.

The lock is the kernel's (flock) and ends with the last process that has it, so it cannot be left behind; what
stands in the file can: who finds it unlocked and not empty finds a role that is held by nobody alive here.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from time import monotonic, sleep

from polity_cli.errors import BadConfiguration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

SUFFIX = ".run"
_TRIED_LATELY_S = 30.0
_GLANCE_S = 0.3
"""Somebody may only be looking what is held."""
_BYTES = 400


class Claimed:
    """The lock of one role's runs on this node, and the file that says what is held."""

    def __init__(self, path: str, fd: int) -> None:
        self.path = path
        self.fd = fd

    def write(self, role: str, term: int) -> None:
        """Remember what is held, or, with term 0, may soon be, durably. Raises BadConfiguration."""
        import json

        self._put(json.dumps({"role": role, "term": term, "pid": os.getpid()}).encode())

    def clear(self) -> None:
        """Nothing is held any more."""
        self._put(b"")

    def read(self) -> tuple[str, int] | None:
        """What was held when the last run here ended without giving it back."""
        import json

        with suppress(ValueError, KeyError, TypeError):
            found = json.loads(os.pread(self.fd, 4096, 0) or b"null")
            if found:
                return str(found["role"]), int(found["term"])
        return None

    def close(self) -> None:
        os.close(self.fd)

    def _put(self, data: bytes) -> None:
        # Of one length and shorter than a sector: there is no half of it after a crash.
        try:
            if data:
                os.pwrite(self.fd, data.ljust(_BYTES), 0)
            else:
                os.ftruncate(self.fd, 0)
            os.fsync(self.fd)
        except OSError as error:
            raise _unwritable(self.path, error) from error


def claim(state_dir: str, namespace: str, node: str, role: str) -> Claimed | None:
    """The lock for running `role` on this node; None if somebody has it. Raises BadConfiguration."""
    import hashlib

    name = hashlib.sha256(role.encode()).hexdigest()[:16]
    return _claim(os.path.join(state_dir, f"{namespace}@{node}.{name}{SUFFIX}"), create=True)


def claim_succession(state_dir: str, namespace: str, node: str) -> Claimed | None:
    """The lock of whoever looks after this node's roles; None if somebody has it. Raises BadConfiguration."""
    return _claim(os.path.join(state_dir, f"{namespace}@{node}.succession"), create=True)


def orphans(state_dir: str, namespace: str, node: str) -> Iterator[tuple[str, int, Claimed]]:
    """Roles and terms of runs that ended without giving the role back; each is locked until the next.

    Term 0 is any: it was not known yet.
    """
    for path in paths(state_dir, namespace, node):
        found = _claim(path, create=False) if os.path.getsize(path) else None
        if found is None:
            continue
        try:
            held = found.read()
            if held is not None:
                yield (*held, found)
        finally:
            found.close()


def paths(state_dir: str, namespace: str, node: str) -> list[str]:
    """The files of all roles that were ever run here."""
    begin = f"{namespace}@{node}."
    try:
        names = sorted(os.listdir(state_dir))
    except OSError:
        return []
    return [
        os.path.join(state_dir, name) for name in names if name.startswith(begin) and name.endswith(SUFFIX)
    ]


def is_left_behind(path: str) -> bool:
    """True if a role is held here by nobody alive, and that was not found a moment ago."""
    from time import time

    try:
        known = os.stat(path)
    except OSError:
        return False
    if not known.st_size or abs(time() - known.st_mtime) < _TRIED_LATELY_S:
        return False
    found = _claim(path, create=False)
    if found is None:
        return False
    os.utime(found.fd)
    found.close()
    return True


def _claim(path: str, *, create: bool) -> Claimed | None:
    try:
        if create:
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | (os.O_CREAT if create else 0)
        fd = os.open(path, flags, 0o600)
    except OSError as error:
        if not create:
            return None
        raise _unwritable(path, error) from error
    until_s = monotonic() + (_GLANCE_S if create else 0.0)
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return Claimed(path, fd)
        except BlockingIOError:
            if monotonic() >= until_s:
                os.close(fd)
                return None
            sleep(0.01)


def _unwritable(path: str, error: OSError) -> BadConfiguration:
    return BadConfiguration(
        f"{path} cannot be written: {error.strerror}",
        hint="make room, give a directory of your own with --state-dir, or run it as the user whose it is",
    )
