"""One real node on loopback: a `serf agent`, its voter, and the verbs a test or a tour needs for them.

Everything of a node is in its folder: `serf.json`, `serf.snapshot`, `serf.log`, `voter.log` and `state`, the
directory that polity remembers in. The snapshot lets a restarted agent go on where it was (Serf's logical
clocks do not fall back), and starting joins it to the nodes that run, so that it need not wait to be found.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from polity_cli.devcluster.guard import Guard, alive, signal_group, stop_group
from polity_cli.devcluster.settings import Settings
from polity_cli.devcluster.wait import wait_for
from polity_cli.edges.serf_rpc import SerfClient
from polity_cli.errors import SerfError, Unfit

SERF_HINT = (
    "install Serf, for instance with `RUNLEVEL=1 apt-get install serf`, where RUNLEVEL=1 "
    "keeps Debian from starting an agent of its own"
)


class PortTaken(Unfit):
    """Somebody else listens where the agent wanted to."""


class DevNode:
    """A node of a DevCluster; made by it, never by hand. `peers` gives the gossip addresses to join."""

    def __init__(
        self,
        name: str,
        *,
        bind_addr: str,
        rpc_addr: str,
        folder: Path,
        settings: Settings,
        guard: Guard,
        peers: Callable[[DevNode], Sequence[str]],
    ) -> None:
        self.name = name
        self.bind_addr = bind_addr
        self.rpc_addr = rpc_addr
        self.folder = folder
        self.settings = settings
        self.state_dir = folder / "state"
        self.serf_log = folder / "serf.log"
        self.voter_log = folder / "voter.log"
        self._guard = guard
        self._peers = peers
        self._serf: subprocess.Popen[str] | None = None
        self._voter: subprocess.Popen[str] | None = None
        self._paused: set[int] = set()
        self._log_start = 0
        self.state_dir.mkdir(parents=True, exist_ok=True)
        config = settings.agent_config(
            name, bind_addr=bind_addr, rpc_addr=rpc_addr, snapshot=folder / "serf.snapshot"
        )
        self._config = folder / "serf.json"
        self._config.touch(mode=0o600)  # the token is in there
        self._config.write_text(json.dumps(config, indent=2) + "\n")

    def __repr__(self) -> str:
        return f"<DevNode {self.name} {self.bind_addr} {'running' if self.running else 'not running'}>"

    # What it is

    @property
    def env(self) -> dict[str, str]:
        """The environment in which commands, hook and agent meet this node and no other."""
        return self.settings.environment(rpc_addr=self.rpc_addr, state_dir=self.state_dir)

    @property
    def running(self) -> bool:
        """Whether the agent runs; a paused one does not."""
        return self.serf_pid is not None and self.serf_pid not in self._paused

    @property
    def serf_pid(self) -> int | None:
        """The process of the Serf agent, None when it is not there."""
        return self._serf.pid if self._serf is not None and alive(self._serf) else None

    @property
    def voter_pid(self) -> int | None:
        """The process of `polity agent`, None when it is not there."""
        return self._voter.pid if self._voter is not None and alive(self._voter) else None

    def members(self) -> dict[str, str]:
        """Who is in the cluster, as this node sees it: name to alive, failed, leaving or left.

        Raises SerfError when the agent does not answer.
        """
        with self.serf(timeout_s=2) as serf:
            return {member.name: member.status for member in serf.members()}

    def serf(self, *, timeout_s: float = 10) -> SerfClient:
        """A client for the agent's RPC, connected by `with`, with this limit for each call."""
        return SerfClient(
            self.rpc_addr,
            auth_key=self.settings.rpc_auth,
            connect_timeout_s=timeout_s,
            timeout_s=timeout_s,
        )

    # Starting

    def start(self, *, timeout_s: float = 10) -> None:
        """Starts what does not run of the agent and the voter, and joins the nodes that run.

        Returns when the agent answers and has joined; others may need some gossip more (`wait_converged`).
        Raises Unfit with the end of the log when the agent dies, SerfTimeout when it stays silent.
        """
        if self.serf_pid is None:
            self.spawn_serf()
            self.wait_ready(timeout_s=timeout_s)
            peers = self._peers(self)
            if peers:
                self.join(peers)
        self.start_voter()

    def spawn_serf(self) -> None:
        """Starts the agent's process and does not wait for it: first half of `start`."""
        if self._serf is not None:
            self._end(self._serf)
        self._log_start = self.serf_log.stat().st_size if self.serf_log.exists() else 0
        self._serf = self._spawn(["serf", "agent", f"-config-file={self._config}"], self.serf_log)

    def wait_ready(self, *, timeout_s: float) -> None:
        """Waits until the agent answers by RPC; raises as `start` does."""
        wait_for(
            self._answers,
            timeout_s,
            f"the RPC of {self.name} at {self.rpc_addr} to answer",
            seen=self.log_tail,
        )

    def start_voter(self) -> None:
        """Starts `polity agent` if the node is to have one and has none."""
        if self.settings.voters == "agent" and self.voter_pid is None:
            if self._voter is not None:
                self._end(self._voter)
            self._voter = self._spawn(self.settings.agent_command, self.voter_log)

    def join(self, peers: Sequence[str], *, timeout_s: float = 15) -> None:
        """Exchanges states with the agents at these gossip addresses; raises SerfError if none answers."""
        with self.serf(timeout_s=timeout_s) as serf:
            serf.join(peers)

    # Ending, in Serf's several ways

    def kill(self) -> None:
        """kill -9 of the agent, the voter and whatever they started. They are gone on return."""
        self._end(*self._processes())

    def kill_serf(self) -> None:
        """kill -9 of the agent and its handlers; the voter stays."""
        self._end(*filter(None, [self._serf]))

    def kill_voter(self) -> None:
        """kill -9 of `polity agent`; the Serf agent stays."""
        self._end(*filter(None, [self._voter]))

    def terminate(self, *, timeout_s: float = 5) -> None:
        """SIGTERM: the voter ends first, then the agent, without leaving: the others will call it failed."""
        self._ask_to_end(self._voter, signal.SIGTERM, timeout_s)
        self._ask_to_end(self._serf, signal.SIGTERM, timeout_s)

    def leave(self, *, timeout_s: float = 10) -> None:
        """SIGINT to the agent, as Debian's unit does: it leaves, and the others say so."""
        self._ask_to_end(self._voter, signal.SIGTERM, timeout_s)
        self._ask_to_end(self._serf, signal.SIGINT, timeout_s)

    def restart(self) -> None:
        """`kill` and `start`."""
        self.kill()
        self.start()

    def pause(self) -> None:
        """SIGSTOP to the agent, its handlers and the voter, which stand still on return."""
        self._pause(*self._processes())

    def pause_serf(self) -> None:
        """SIGSTOP to the agent and its handlers."""
        self._pause(*filter(None, [self._serf]))

    def pause_voter(self) -> None:
        """SIGSTOP to `polity agent`."""
        self._pause(*filter(None, [self._voter]))

    def resume(self) -> None:
        """SIGCONT to all that is paused."""
        for process in self._processes():
            signal_group(process, signal.SIGCONT)
        self._paused.clear()

    # Using

    def polity(self, *args: str, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
        """Runs `polity ARGS` on this node to its end; the exit code is not judged.

        Raises subprocess.TimeoutExpired, and the command is killed.
        """
        with self.popen(*args) as command:
            out, err = command.communicate(timeout=timeout_s)
        return subprocess.CompletedProcess(["polity", *args], command.returncode, out, err)

    @contextlib.contextmanager
    def popen(self, *args: str) -> Iterator[subprocess.Popen[str]]:
        """`polity ARGS` on this node, stdout and stderr piped; it is killed where the `with` ends."""
        argv = [sys.executable, "-m", "polity_cli", *args]
        command = self._guard.spawn(argv, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            yield command
        finally:
            self._guard.end(command)

    def log_tail(self, lines: int = 15) -> str:
        """The end of what the agent said since it was last started."""
        try:
            said = self.serf_log.read_bytes()[self._log_start :]
        except FileNotFoundError:
            return ""
        return "\n".join(said.decode(errors="replace").splitlines()[-lines:])

    # Inside

    def _answers(self) -> bool:
        if self.serf_pid is None:
            tail = self.log_tail()
            error = PortTaken if "address already in use" in tail else Unfit
            raise error(f"the Serf agent of {self.name} died; its last words:\n{tail}")
        with contextlib.suppress(SerfError):
            return bool(self.members())
        return False

    def _spawn(self, argv: Sequence[str], log: Path) -> subprocess.Popen[str]:
        with log.open("a", encoding="utf-8") as output:
            try:
                return self._guard.spawn(argv, env=self.env, stdout=output, stderr=subprocess.STDOUT)
            except FileNotFoundError as error:
                hint = SERF_HINT if argv[0] == "serf" else ""
                raise Unfit(f"there is no program `{error}` in the PATH", hint=hint) from error

    def _processes(self) -> list[subprocess.Popen[str]]:
        return [process for process in (self._voter, self._serf) if process is not None]

    def _end(self, *processes: subprocess.Popen[str]) -> None:
        self._guard.end(*processes)
        self._paused.difference_update(process.pid for process in processes)

    def _pause(self, *processes: subprocess.Popen[str]) -> None:
        for process in processes:
            stop_group(process)
            self._paused.add(process.pid)

    def _ask_to_end(
        self, process: subprocess.Popen[str] | None, number: signal.Signals, timeout_s: float
    ) -> None:
        if process is None or not alive(process):
            return
        # The process alone: a handler is its business. A paused one hears of it only when it goes on.
        os.kill(process.pid, number)
        signal_group(process, signal.SIGCONT)
        try:
            wait_for(lambda: not alive(process), timeout_s, f"process {process.pid} of {self.name} to end")
        finally:
            self._end(process)
