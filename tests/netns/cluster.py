"""N nodes, each in a network namespace of its own behind one bridge, by verbs.

    with NetCluster(5) as cluster:
        cluster.cut(["n1", "n2"], ["n3", "n4", "n5"])
        cluster["n4"].polity("elect", "leader")
        cluster.heal()

Commands and the tests' own RPC start from the bridge's namespace: what comes from there is not
forwarded, so it reaches every agent whatever is cut between the nodes. Serf agents and `polity agent`
live in their node's.
"""

from __future__ import annotations

import contextlib
import secrets
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from polity_cli.devcluster import DevNode, Settings, Voters, wait_for
from polity_cli.devcluster.guard import Guard
from polity_cli.edges.serf_rpc import SerfClient
from polity_cli.errors import SerfError
from tests.netns.faults import Fault, both_ways, one_way, ruleset
from tests.netns.space import Space

ROOT = Path(__file__).parents[2]
_START_S = 30.0
_JOIN_AGAIN_S = 0.3
_GOSSIP, _RPC = 7946, 7373


class NetNode(DevNode):
    """A node in a namespace; made by NetCluster."""

    def __init__(self, *args: Any, space: Space, bridge: Space, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._space = space
        self._bridge = bridge

    def serf(self, *, timeout_s: float = 10) -> SerfClient:
        """A connected client for the agent's RPC, from the bridge; raises SerfError if there is none."""
        with self._bridge.inside():
            return SerfClient.connect(self.rpc_addr, connect_timeout_s=timeout_s, timeout_s=timeout_s)

    @contextlib.contextmanager
    def popen(self, *args: str, halt: str = "") -> Iterator[subprocess.Popen[str]]:
        """`polity ARGS` for this node, from the bridge; killed where the `with` ends. `halt`: `puppet`."""
        module = ["tests.netns.puppet", halt] if halt else ["polity_cli"]
        argv = self._bridge.command([sys.executable, "-m", *module, *args])
        command = self._guard.spawn(argv, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            yield command
        finally:
            self._guard.end(command)

    def _spawn(self, argv: Sequence[str], log: Path) -> subprocess.Popen[str]:
        return super()._spawn(self._space.command(argv), log)


class NetCluster:
    """`size` nodes n1, n2, ... at 10.77.0.1 and on. A context manager; nothing of it survives its process.

    If `first` is given, only so many of them are started with it; the others by their own `start`, or by
    `heal`. Verbs may be called from any thread. `told` is called with every fault, in words.
    """

    def __init__(
        self,
        size: int,
        *,
        first: int | None = None,
        voters: Voters = "agent",
        serf_config: dict[str, Any] | None = None,
        env: dict[str, str] | None = None,
        told: Callable[[str], None] = lambda fault: None,
    ) -> None:
        self.size = size
        self.first = first
        self.nodes: list[NetNode] = []
        self.told = told
        self.voters: Voters = voters
        # Whoever lost sight of a node looks for it every 30 s by default: too long for a test.
        self._serf_config = {"reconnect_interval": "1s", **(serf_config or {})}
        self._env = dict(env or {})
        self._lock = threading.Lock()
        self._faults: list[Fault] = []
        self._ports = {f"n{index}": f"v{index}" for index in range(1, size + 1)}
        self._guard: Guard | None = None
        self._bridge: Space | None = None
        self.spaces: dict[str, Space] = {}

    def __enter__(self) -> NetCluster:
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def __getitem__(self, name: str) -> NetNode:
        return next(node for node in self.nodes if node.name == name)

    def stop(self) -> None:
        """Kills every node and lets go of the network. May be called twice."""
        guard, self._guard = self._guard, None
        if guard is not None:
            guard.close()

    @property
    def running(self) -> list[NetNode]:
        return [node for node in self.nodes if node.running]

    # What can be wrong with the network

    def cut(self, a: Collection[str], b: Collection[str]) -> None:
        """Nothing passes between these nodes and those, either way."""
        self._add(*both_ways(a, b))

    def one_way_cut(self, sources: Collection[str], targets: Collection[str]) -> None:
        """Nothing passes from these nodes to those."""
        self._add(one_way(sources, targets))

    def loss(self, percent: int, a: Collection[str] | None = None, b: Collection[str] | None = None) -> None:
        """So many of a hundred packets between `a` and `b` are lost; between any two, by default."""
        everybody = list(self._ports)
        self._add(*dict.fromkeys(both_ways(a or everybody, b or everybody, percent)))

    def one_way_loss(self, percent: int, sources: Collection[str], targets: Collection[str]) -> None:
        """Of every hundred packets from these nodes to those so many are lost, at random."""
        self._add(one_way(sources, targets, percent))

    def isolate(self, *names: str) -> None:
        """Cuts these nodes off from all others, but not from each other."""
        self.cut(names, [name for name in self._ports if name not in names])

    def mend(self) -> None:
        """Everything passes again; what Serf believes of it is another matter (`heal`)."""
        self._apply([])

    def heal(self, *, timeout_s: float = 60) -> None:
        """Mends the network, resumes and starts all processes, and waits until all nodes see each other."""
        self.mend()
        for node in self.nodes:
            node.resume()
        for node in self.nodes:
            node.start()
        self.wait_converged(timeout_s=timeout_s)

    def wait_converged(self, *, timeout_s: float) -> None:
        """Waits until every running agent sees exactly the running ones alive."""

        join_at = 0.0

        def converged() -> bool:
            nonlocal join_at
            names = {node.name for node in self.running}
            apart = [node for node in self.running if _alive_for(node) != names]
            if apart and time.monotonic() >= join_at:
                for node in apart:
                    # A join exchanges all that both know, at once; gossip alone takes its time after a cut.
                    with contextlib.suppress(SerfError):
                        node.join([other.bind_addr for other in self.running if other is not node])
                join_at = time.monotonic() + _JOIN_AGAIN_S
            return not apart

        def views() -> str:
            return ", ".join(f"{node.name} sees {_alive_for(node)}" for node in self.running)

        wait_for(converged, timeout_s, "every running node to see every other alive", seen=views)

    # Inside

    def lay(self, guard: Guard) -> None:
        """Makes the namespaces, the bridge and the links, for as long as the guard lives; no agents yet."""
        self._bridge = Space(guard)
        self._bridge.ip(
            "link add br0 type bridge",
            "link set br0 up",
            "link set lo up",
            "addr add 10.77.0.254/24 dev br0",
        )
        for name, port in self._ports.items():
            space = self.spaces[name] = Space(guard)
            self._bridge.ip(f"link add {port} type veth peer name eth0 netns {space.pid}")
            self._bridge.ip(f"link set {port} master br0 up")
            space.ip("link set lo up", f"addr add {_address(name)}/24 dev eth0", "link set eth0 up")

    def _start(self) -> None:
        folder = Path(tempfile.gettempdir()) / f"polity-netns-{secrets.token_hex(8)}"
        self._guard = Guard(cleanup=folder)
        folder.mkdir(mode=0o700)
        self.lay(self._guard)
        # TMPDIR: commands keep a lock for each agent's address, and other clusters have the same addresses.
        env = {"TMPDIR": str(folder), "PYTHONPATH": str(ROOT), **self._env}
        settings = Settings(voters=self.voters, serf_config=self._serf_config, env=env)
        self.nodes = [self._node(name, folder, settings) for name in self._ports]
        first = self.nodes[: self.first]
        for node in first:
            node.spawn_serf()
        for node in first:
            node.wait_ready(timeout_s=_START_S)
        for node in first:
            node.start_voter()
        self.wait_converged(timeout_s=_START_S)

    def _node(self, name: str, folder: Path, settings: Settings) -> NetNode:
        assert self._guard is not None
        assert self._bridge is not None
        return NetNode(
            name,
            bind_addr=f"{_address(name)}:{_GOSSIP}",
            rpc_addr=f"{_address(name)}:{_RPC}",
            folder=folder / name,
            settings=settings,
            guard=self._guard,
            peers=lambda node: [other.bind_addr for other in self.running if other is not node],
            space=self.spaces[name],
            bridge=self._bridge,
        )

    def _add(self, *faults: Fault) -> None:
        with self._lock:
            wanted = [*self._faults, *faults]
        self._apply(wanted)
        for fault in faults:
            self.told(str(fault))

    def _apply(self, faults: list[Fault]) -> None:
        assert self._bridge is not None
        with self._lock:
            self._bridge.run("nft", "-f", "-", text=ruleset(faults, self._ports))
            self._faults = faults


def _address(name: str) -> str:
    return f"10.77.0.{name[1:]}"


def _alive_for(node: DevNode) -> set[str] | None:
    """The names this node calls alive, None when it does not answer."""
    with contextlib.suppress(SerfError):
        return {name for name, status in node.members().items() if status == "alive"}
    return None
