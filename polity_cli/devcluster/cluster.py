"""N nodes that know each other, each in its own folder, on a loopback network that is theirs alone."""

from __future__ import annotations

import contextlib
import random
import secrets
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from polity_cli.devcluster.guard import Guard
from polity_cli.devcluster.lease import LARGEST, Lease, lease
from polity_cli.devcluster.node import DevNode, PortTaken
from polity_cli.devcluster.settings import Settings, Voters
from polity_cli.devcluster.wait import wait_for
from polity_cli.errors import BadInput, SerfError

T = TypeVar("T")

_ATTEMPTS = 3
_GOSSIP_TICK_S = 0.2
_JOIN_AGAIN_S = 5.0
_SEEDS = 3
"""Nodes that a further one joins: one is enough, unless it dies just then."""


class DevCluster:
    """`size` nodes named `name_prefix` and a number from 1. A context manager: nodes run inside the `with`.

    Without `folder` they live in a temporary one, which is removed at the end; a folder that is given stays,
    and nodes started in it again remember. The other arguments are those of `Settings`.

    Nothing that was started outlives the process that started it, however that ends (see `guard`).
    """

    def __init__(
        self,
        size: int,
        *,
        voters: Voters = "hook",
        folder: Path | None = None,
        namespace: str = "polity",
        name_prefix: str = "n",
        rpc_auth: str | None = None,
        handler: str | None = None,
        agent_command: Sequence[str] = (sys.executable, "-m", "polity_cli", "agent"),
        log_level: str = "info",
        serf_config: Mapping[str, Any] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        if not 1 <= size <= LARGEST:
            raise BadInput(f"a local cluster has 1 to {LARGEST} nodes, not {size}")
        self.size = size
        self.settings = Settings(
            voters=voters,
            namespace=namespace,
            rpc_auth=rpc_auth,
            handler=handler,
            agent_command=tuple(agent_command),
            log_level=log_level,
            serf_config=dict(serf_config or {}),
            env=dict(env or {}),
        )
        self.nodes: list[DevNode] = []
        self.name_prefix = name_prefix
        self._given_folder = folder
        self._folder: Path | None = None
        self._lease: Lease | None = None
        self._guard: Guard | None = None

    def __enter__(self) -> DevCluster:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def __getitem__(self, name: str) -> DevNode:
        """The node of that name; raises KeyError."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise KeyError(f"{name}: there are {', '.join(node.name for node in self.nodes) or 'no nodes'}")

    @property
    def folder(self) -> Path:
        """Where the nodes have their folders; raises RuntimeError while the cluster is not started."""
        if self._folder is None:
            raise RuntimeError("the cluster is not started")
        return self._folder

    @property
    def running(self) -> list[DevNode]:
        """The nodes whose agent runs, without those that are paused."""
        return [node for node in self.nodes if node.running]

    def start(self, *, timeout_s: float = 30) -> None:
        """Starts all nodes at once; returns when each sees all the others alive.

        Raises Unfit when Serf is missing or an agent dies (with the end of its log), SerfTimeout after
        `timeout_s` seconds. Nothing is left running then.
        """
        if self._guard is not None:
            raise RuntimeError("the cluster is started already")
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                self._start(timeout_s)
            except PortTaken:
                # Somebody took a port after it was tried and before Serf had it.
                self.stop()
                if attempt == _ATTEMPTS:
                    raise
            except BaseException:
                self.stop()
                raise
            else:
                return

    def stop(self) -> None:
        """Kills every node, and removes the temporary folder. May be called twice."""
        guard, self._guard = self._guard, None
        held, self._lease = self._lease, None
        self._folder = None
        if guard is not None:
            guard.close()
        if held is not None:
            held.release()

    def add_node(self, *, voters: Voters | None = None) -> DevNode:
        """A further node, started and joined; others may need some gossip to see it (`wait_converged`)."""
        settings = self.settings if voters is None else replace(self.settings, voters=voters)
        node = self._add(settings)
        node.start()
        return node

    def heal(self, *, timeout_s: float = 30) -> None:
        """Resumes what is paused, starts what is down, and waits until all nodes see each other."""
        for node in self.nodes:
            node.resume()
        for node in self.nodes:
            node.start()
        self.wait_converged(timeout_s=timeout_s)

    def wait_for(self, predicate: Callable[[], T], timeout_s: float, what: str) -> T:
        """The function of that name: the first true value of `predicate`, or SerfTimeout naming `what`."""
        return wait_for(predicate, timeout_s, what)

    def wait_converged(self, *, timeout_s: float = 30) -> None:
        """Waits until every running agent sees exactly the running ones alive, raising SerfTimeout.

        Serf takes 5 to 7 seconds to call a killed or paused node failed. A join that gets lost it mends only
        after half a minute, so who sees nobody else is told of the others again.
        """
        join_at_s = time.monotonic() + _JOIN_AGAIN_S

        def converged() -> bool:
            nonlocal join_at_s
            running = self.running
            views = {node.name: _alive_for(node) for node in running}
            if all(view == views.keys() for view in views.values()):
                return True
            if time.monotonic() >= join_at_s:
                join_at_s = time.monotonic() + _JOIN_AGAIN_S
                for node in running:
                    if views[node.name] == {node.name}:
                        with contextlib.suppress(SerfError):
                            node.join([other.bind_addr for other in running if other is not node])
            return False

        def views() -> str:
            return ", ".join(
                f"{node.name} sees {' '.join(sorted(_alive_for(node) or ['nothing']))}"
                for node in self.running
            )

        names = " ".join(node.name for node in self.running)
        wait_for(converged, timeout_s, f"every running node to see {names} alive and no other", seen=views)

    def _start(self, timeout_s: float) -> None:
        self.nodes = []
        self._lease = lease(self.size)
        held = [self._lease.fileno()]
        if self._given_folder is None:
            # Named first and made second, so that no kill finds a folder the guard has not heard of.
            self._folder = Path(tempfile.gettempdir()) / f"polity-{secrets.token_hex(8)}"
            self._guard = Guard(cleanup=self._folder, held=held)
            self._folder.mkdir(mode=0o700)
        else:
            self._folder = self._given_folder.absolute()
            self._guard = Guard(held=held)
        for _ in range(self.size):
            self._add(self.settings)
        # An agent gossips in the rhythm of its start; started at once, all would do so in step.
        began = time.monotonic()
        phases = sorted(random.uniform(0, _GOSSIP_TICK_S) for _ in self.nodes)
        for node, phase_s in zip(random.sample(self.nodes, len(self.nodes)), phases, strict=True):
            time.sleep(max(0.0, began + phase_s - time.monotonic()))
            node.spawn_serf()
        for node in self.nodes:
            node.wait_ready(timeout_s=timeout_s)
        first, *others = self.nodes
        if others:
            # Serf exchanges states at a join: in the first round the first node learns of all others, in the
            # second they learn of each other from it. Gossip alone would take some of its 200 ms ticks.
            for _ in range(2):
                first.join([node.bind_addr for node in others], timeout_s=timeout_s)
        for node in self.nodes:
            node.start_voter()
        self.wait_converged(timeout_s=timeout_s)

    def _add(self, settings: Settings) -> DevNode:
        if self._lease is None or self._guard is None:
            raise RuntimeError("the cluster is not started")
        index = len(self.nodes) + 1
        name = f"{self.name_prefix}{index}"
        address, ports = self._lease.address(index), self._lease.ports
        node = DevNode(
            name,
            bind_addr=f"{address}:{ports.gossip}",
            rpc_addr=f"{address}:{ports.rpc}",
            folder=self.folder / name,
            settings=settings,
            guard=self._guard,
            peers=self._seeds_for,
        )
        self.nodes.append(node)
        return node

    def _seeds_for(self, node: DevNode) -> list[str]:
        return [other.bind_addr for other in self.running if other is not node][:_SEEDS]


def _alive_for(node: DevNode) -> set[str] | None:
    """The names this node calls alive, None when it does not answer."""
    with contextlib.suppress(SerfError):
        return {name for name, status in node.members().items() if status == "alive"}
    return None
