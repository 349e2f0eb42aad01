"""`polity demo`: a guided tour on a cluster of real Serf agents, which goes away when the tour ends.

Everything shown is real: each line behind a `$` is run as it stands, on the node named before it, and what
follows is what it printed. The tour fails, with the exit code 1, if anything turns out other than it says.
"""

from __future__ import annotations

import shlex
import sys
from time import monotonic

from polity_cli.devcluster import DevCluster, DevNode
from polity_cli.errors import BadInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from subprocess import CompletedProcess
    from typing import TextIO

SMALLEST = 4
LARGEST = 50


class Surprise(Exception):
    """The tour saw something else than it promised."""


def run(size: int = 5, *, out: TextIO = sys.stdout) -> int:
    """Give the tour with `size` nodes; returns the exit code. Raises BadInput, Unfit without Serf."""
    if not SMALLEST <= size <= LARGEST:
        raise BadInput(
            f"the tour takes {SMALLEST} to {LARGEST} nodes, not {size}",
            hint="with fewer than 4 voters none may fail, and the tour kills one",
        )
    tour = Tour(out)
    tour.say(f"Starting {size} real Serf agents on loopback addresses, each with a voter. No root needed.")
    started = monotonic()
    with DevCluster(size) as cluster:
        tour.say(f"They run and have found each other after {monotonic() - started:.1f} s.")
        try:
            tour.give(cluster)
        except Surprise as surprise:
            tour.say(f"This is not what should have happened: {surprise}")
            return 1
    tour.say("All agents are ended and their folder is removed. Next: the README's way to a real cluster.")
    return 0


class Tour:
    """Says what it does, does it, and shows what came of it."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._style = ("\x1b[1m", "\x1b[36m", "\x1b[0m") if out.isatty() else ("", "", "")
        self._chapters = 0

    def give(self, cluster: DevCluster) -> None:
        """The whole tour, on a cluster that runs and has no polity yet."""
        first, second, third, *others = cluster.nodes
        last = others[-1]

        self.chapter("Found the polity", "All voters must answer once; from then on a quorum is enough.")
        self.show(first, "found", expect=0)

        self.chapter(
            "Elect", f"{first.name} asks for a role. Nobody holds it, so the voters vote for {first.name}."
        )
        self.show(first, "elect backup", expect=0)
        self.say("That is all a cron line needs:   polity elect backup && run-backup")

        self.chapter(
            "Lose", "Others are told who holds it, by exit code 3. Asking again as the holder is fine."
        )
        self.show(second, "elect backup", expect=3)
        self.show(first, "elect backup", expect=0)

        self.chapter("Ask", "Any node answers, and a quorum of voters stands behind the answer.")
        self.show(third, "who backup", expect=0)

        self.chapter("Recall", "A role is held until it is recalled. The term grows: it is a fencing token.")
        self.show(third, "recall backup", expect=0)
        self.show(third, "who backup", expect=4)
        self.show(second, "elect backup", expect=0)

        self.chapter(
            "Kill a node", f"{last.name} dies as machines do (kill -9). The others decide as before."
        )
        last.kill()
        self.show(first, "who backup", expect=0)
        self.show(first, "elect nightly-report", expect=0)

        self.chapter("Kill all of them", "Every agent dies at once and comes back. Votes are on the disk.")
        for node in cluster.nodes:
            node.kill()
        for node in cluster.nodes:
            node.spawn_serf()
        cluster.heal()
        self.show(third, "who backup", expect=0)
        self.show(third, "roles", expect=0)

        self.chapter(
            "A minority decides nothing", "With too few voters alive the answer is 'no quorum', not a guess."
        )
        for node in cluster.nodes[len(cluster.nodes) // 2 :]:
            node.kill()
        self.show(first, "recall backup --timeout 4", expect=5)
        cluster.heal()
        self.say("Their agents are back, and so is the quorum:")
        self.show(first, "who backup", expect=0)
        self.show(first, "voters", expect=0)

    def say(self, text: str) -> None:
        print(text, file=self._out, flush=True)

    def chapter(self, title: str, text: str) -> None:
        self._chapters += 1
        bold, _, plain = self._style
        self.say(f"\n{bold}{self._chapters}. {title}{plain}\n{text}")

    def show(self, node: DevNode, command: str, *, expect: int) -> None:
        """Run a command on a node before the reader's eyes; raises Surprise for an unexpected exit code."""
        _, colour, plain = self._style
        self.say(f"\n  {node.name} {colour}$ polity {command}{plain}")
        started = monotonic()
        done: CompletedProcess[str] = node.polity(*shlex.split(command))
        took_ms = (monotonic() - started) * 1000
        for line in (done.stdout + done.stderr).splitlines():
            self.say(f"     {line}")
        self.say(f"     (exit code {done.returncode}, {took_ms:.0f} ms)")
        if done.returncode != expect:
            raise Surprise(f"`polity {command}` on {node.name} exits with {done.returncode}")
