"""A loopback network that one local cluster has for itself.

Linux answers for all of 127.0.0.0/8, so every cluster takes a /24 of its own and each of its nodes an
address in it: n1 is 127.77.1.1, n2 is 127.77.1.2, and all of them can use Serf's standard ports.

The lease is an abstract Unix socket named after the network. The kernel lets one process tree bind it, gives
it up when the last holder dies however it dies, leaves no file behind, and keeps one set of names per network
namespace: just the scope that loopback addresses have. A lease keeps clusters apart from each other only.
Some other program may listen on a port on *all* addresses (a Serf agent does, unless it is told
otherwise), which is why the ports are tried before the lease is handed out.
"""

from __future__ import annotations

import itertools
import socket
from collections.abc import Iterator
from dataclasses import dataclass

from polity_cli.errors import Unfit

LARGEST = 250
"""Nodes that fit into one leased network."""


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the agents of a cluster listen: `gossip` by TCP and UDP, `rpc` by TCP."""

    gossip: int
    rpc: int


STANDARD = Ports(7946, 7373)
PORTS = (STANDARD, Ports(17946, 17373), Ports(27946, 27373))


class Lease:
    """A held network. It ends with `release`, or when every process that inherited `fileno` is gone."""

    def __init__(self, second: int, third: int, ports: Ports, holder: socket.socket) -> None:
        self.ports = ports
        self.network = f"127.{second}.{third}.0/24"
        self._prefix = f"127.{second}.{third}"
        self._holder = holder

    def address(self, index: int) -> str:
        """The address of the node with this index, counted from 1 to `LARGEST`."""
        if not 1 <= index <= LARGEST:
            raise ValueError(f"{self.network} has addresses for nodes 1 to {LARGEST}, not for {index}")
        return f"{self._prefix}.{index}"

    def fileno(self) -> int:
        """The descriptor that keeps the lease; a child that inherits it keeps the lease too."""
        return self._holder.fileno()

    def release(self) -> None:
        self._holder.close()


def lease(size: int) -> Lease:
    """Takes a free network in which the ports of nodes 1 to `size` are free as well.

    Raises Unfit when there is none, in which case nothing is held.
    """
    for second, third in _networks():
        holder = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            holder.bind(f"\0polity-devcluster-127.{second}.{third}")
        except OSError:
            holder.close()
            continue
        for ports in PORTS:
            found = Lease(second, third, ports, holder)
            if all(_free(found.address(index), ports) for index in range(1, size + 1)):
                return found
        holder.close()
    raise Unfit(
        "no free loopback network for a local cluster",
        hint="look with `ss -lntup` for programs that listen on " + ", ".join(str(p.gossip) for p in PORTS),
    )


def _networks() -> Iterator[tuple[int, int]]:
    """Second and third octets, in a fixed order: a lone cluster always has the same addresses."""
    return itertools.product(range(77, 81), range(1, 255))


def _free(address: str, ports: Ports) -> bool:
    wanted = (
        (socket.SOCK_STREAM, ports.gossip),
        (socket.SOCK_DGRAM, ports.gossip),
        (socket.SOCK_STREAM, ports.rpc),
    )
    return all(_bindable(kind, address, port) for kind, port in wanted)


def _bindable(kind: socket.SocketKind, address: str, port: int) -> bool:
    with socket.socket(socket.AF_INET, kind) as probe:
        if kind == socket.SOCK_STREAM:
            # As Serf does it: connections of an earlier cluster that are still closing do not count.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
            if kind == socket.SOCK_STREAM:
                probe.listen()
        except OSError:
            return False
    return True
