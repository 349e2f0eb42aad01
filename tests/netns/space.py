"""Network namespaces without a name, so that nobody ever has to clean up after them.

A namespace lives while a process is in it or a file names it. `ip netns` makes such files, and a test
run that is killed leaves them behind. Here no file is made: a sleeping process holds each namespace,
under the guard that ends it whatever happens to the tests (`polity_cli/devcluster/guard.py`). When it
and the agents in the namespace are gone, the kernel takes back the namespace, its addresses, its links
and its packet filter. Nothing can be left over, and two runs at once cannot meet: each has its own
10.77.0.0/24.

Needs root, and `ip` and `nft`; `obstacle` says what is missing.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence

from polity_cli.devcluster import wait_for
from polity_cli.devcluster.guard import Guard, alive
from polity_cli.errors import Unfit

_CLONE_NEWNET = 0x40000000
_LIMIT_S = 10.0

# Debian keeps `ip` and `nft` where only root's PATH looks.
ENV = {**os.environ, "PATH": os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])}

_PROBE = """
table bridge probe {
 chain f {
  type filter hook forward priority 0; policy accept;
  iifname { "v1" } numgen random mod 100 < 20 drop
 }
}
"""


def obstacle() -> str | None:
    """Why there can be no such tests here, None if nothing is in the way."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    for tool in ("serf", "ip", "nft", "nsenter", "unshare"):
        if shutil.which(tool, path=ENV["PATH"]) is None:
            return f"there is no `{tool}` here; `scripts/setup --dev` installs it"
    for step in (["ip", "link", "add", "br0", "type", "bridge"], ["nft", "-f", "-"]):
        done = subprocess.run(
            ["unshare", "--net", *step],
            env=ENV,
            input=_PROBE,
            capture_output=True,
            text=True,
            timeout=_LIMIT_S,
        )
        if done.returncode:
            return f"`{' '.join(step)}` is refused: {done.stderr.strip()}"
    return None


class Space:
    """A network namespace, from now until the guard ends."""

    def __init__(self, guard: Guard) -> None:
        self._holder = guard.spawn(
            ["unshare", "--net", "sleep", "infinity"],
            env=ENV,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.pid = self._holder.pid
        self.path = f"/proc/{self.pid}/ns/net"
        wait_for(self._is_there, _LIMIT_S, "a network namespace")

    def command(self, argv: Sequence[str]) -> list[str]:
        """`argv`, run in this namespace; the process that is started becomes the program."""
        return ["nsenter", f"--net={self.path}", "--", *argv]

    def run(self, *argv: str, text: str = "") -> str:
        """Run a short program in here, `text` being its input; its output, or AssertionError."""
        done = subprocess.run(
            self.command(argv), env=ENV, input=text, capture_output=True, text=True, timeout=_LIMIT_S
        )
        assert done.returncode == 0, f"{' '.join(argv)}: {done.stderr}\n{text}"
        return done.stdout

    def ip(self, *commands: str) -> None:
        """What `ip` is to do in here, line by line."""
        self.run("ip", "-batch", "-", text="\n".join(commands) + "\n")

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """Put the calling thread in here: a socket made meanwhile belongs to this namespace for good."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            there = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                _enter(there)
            finally:
                os.close(there)
            try:
                yield
            finally:
                _enter(home)
        finally:
            os.close(home)

    def _is_there(self) -> bool:
        if not alive(self._holder):
            raise Unfit("a network namespace cannot be made")
        return os.stat(self.path).st_ino != os.stat("/proc/self/ns/net").st_ino


def _enter(namespace: int) -> None:
    # os.setns came with Python 3.12.
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(namespace, _CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, f"setns: {os.strerror(number)}")
