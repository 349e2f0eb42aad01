"""A cluster, the record of what one test does to it, and the short words for both."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from time import monotonic
from typing import cast

from polity_cli.devcluster import Voters
from polity_cli.edges.network import QUERY_LIFETIME_S
from polity_cli.errors import PolityError
from tests.netns.cluster import NetCluster, NetNode
from tests.netns.record import Errand, Record
from tests.serf.verbs import Said, register_of, tell

_LOG_LINES = 40


class Field:
    def __init__(self, cluster: NetCluster, record: Record) -> None:
        self.cluster = cluster
        self.record = record
        cluster.told = record.fault

    @classmethod
    @contextlib.contextmanager
    def started(cls, size: int, voters: str, title: str = "", *, first: int | None = None) -> Iterator[Field]:
        with NetCluster(size, first=first, voters=cast(Voters, voters)) as cluster:
            yield cls(cluster, Record(title))

    @property
    def voters(self) -> str:
        return self.cluster.voters

    def for_test(self, title: str) -> Field:
        """The same cluster with a new record."""
        return Field(self.cluster, Record(title))

    def role(self, name: str = "") -> str:
        """A role that no other test uses."""
        return f"{self.record.title[:100]} {name}".strip()

    def ask(self, node: str, *args: str) -> Said:
        return self.record.ask(self.cluster[node], *args)

    def ask_each(self, nodes: Sequence[str], *args: str) -> list[Said]:
        """The same command on all these nodes at once."""
        return self.ask_all([(node, args) for node in nodes])

    def ask_all(self, orders: Sequence[tuple[str, Sequence[str]]]) -> list[Said]:
        """Commands at once, each on its node."""
        return self.record.ask_all([(self.cluster[node], args) for node, args in orders])

    @contextlib.contextmanager
    def begin(self, node: str, *args: str, halt: str = "") -> Iterator[Errand]:
        with self.record.begin(self.cluster[node], *args, halt=halt) as errand:
            yield errand

    def hit(self, verb: str, *nodes: str) -> None:
        """A verb of DevNode, such as `kill_serf` or `pause`, done to these nodes."""
        for name in nodes:
            self.record.fault(verb)
            getattr(self.cluster[name], verb)()

    def evidence(self) -> str:
        """Everything that may explain what went wrong: operations, ledgers, the ends of all logs."""
        parts = [*map(str, self.record.operations), *map(str, self.record.electorates)]
        for node in self.cluster.nodes:
            for role in sorted({told.role for told in self.record.operations}):
                with contextlib.suppress(PolityError, AssertionError):
                    parts.append(f"{node.name} {role}: {register_of(node, role)}")
        for node in self.cluster.nodes:
            for log in (node.serf_log, node.voter_log):
                if log.exists():
                    lines = log.read_text(errors="replace").splitlines()[-_LOG_LINES:]
                    parts += [f"--- {node.name} {log.name}", *lines]
        return "\n".join(parts)

    def agree(self, role: str, *, nodes: Sequence[NetNode] | None = None) -> tuple[str | None, int]:
        """Asks all nodes at once who holds a role until all say the same: holder and term.

        While something is under way, some of them are rightly answered from before it takes effect and some
        from after; the judge of the whole record knows which are right. Fails if they differ for longer than
        Serf keeps what was sent.
        """
        deadline = monotonic() + 2 * QUERY_LIFETIME_S
        while True:
            answers = self._who(role, nodes)
            told = _told(answers)
            if len(told) == 1:
                return told.pop()
            assert monotonic() < deadline, tell(answers)

    def _who(self, role: str, nodes: Sequence[NetNode] | None) -> list[Said]:
        asked = [node.name for node in nodes or self.cluster.nodes]
        return self.ask_each(asked, "who", role, "--timeout", "15")


def _told(answers: list[Said]) -> set[tuple[str | None, int]]:
    """What these answers say: holders and terms."""
    assert all(said.code in (0, 4) for said in answers), tell(answers)
    assert all(isinstance(said.data.get("term"), int) for said in answers), tell(answers)
    return {(said.data["holder"], said.data["term"]) for said in answers}
