"""Real Serf agents on loopback, by verbs: what `polity demo` shows and what the tests run on.

    with DevCluster(3) as cluster:
        cluster["n1"].polity("elect", "leader")
        cluster["n1"].kill()
        cluster.wait_converged()

From the ground up: `lease` (a loopback network of one's own), `guard` (child processes that end in every way
out), `wait` (polling with a limit), `settings` (what an agent is told), `node` (one agent and its voter) and
`cluster` (all of them). Linux only: it is Linux that has all of 127.0.0.0/8 and abstract sockets.
"""

from polity_cli.devcluster.cluster import DevCluster
from polity_cli.devcluster.node import DevNode
from polity_cli.devcluster.settings import Settings, Voters
from polity_cli.devcluster.wait import wait_for

__all__ = ["DevCluster", "DevNode", "Settings", "Voters", "wait_for"]
