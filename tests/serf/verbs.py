"""What the acceptance tests do with a cluster: ask, ask all at once, and look into the voters' ledgers."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polity_cli.core.messages import Register
from polity_cli.devcluster import DevCluster, DevNode, wait_for
from polity_cli.edges.ledger import Ledger, ledger_path
from polity_cli.errors import SerfTimeout

OK, NO, VACANT, NO_QUORUM, UNKNOWN, SERF, UNFIT = 0, 3, 4, 5, 6, 7, 8

LIMIT_S = 30.0


@dataclass(frozen=True, slots=True)
class Said:
    """What a command said: its exit code, its JSON object, and its talk."""

    node: str
    args: tuple[str, ...]
    code: int
    data: dict[str, Any]
    talk: str

    def __str__(self) -> str:
        return f"{self.node}: polity {' '.join(self.args)} -> {self.code} {self.data}\n{self.talk}"


def in_json(args: Sequence[str]) -> list[str]:
    """The same call with `--json`."""
    # Some commands are two words; options go behind them.
    words = 2 if args[0] == "voters" and args[1:] and not args[1].startswith("-") else 1
    return [*args[:words], "--json", *args[words:]]


def ask(node: DevNode, *args: str, timeout_s: float = 90) -> Said:
    """Runs `polity ARGS --json` on a node."""
    done = node.polity(*in_json(args), timeout_s=timeout_s)
    data = json.loads(done.stdout) if done.stdout else {}
    assert isinstance(data, dict)
    return Said(node.name, args, done.returncode, data, done.stderr)


def ask_all(nodes: Sequence[DevNode], *args: str, timeout_s: float = 90) -> list[Said]:
    """Runs the same command on all these nodes at once; the answers in the order of the nodes."""
    with ThreadPoolExecutor(len(nodes)) as pool:
        return list(pool.map(lambda node: ask(node, *args, timeout_s=timeout_s), nodes))


def tell(answers: Iterable[Said]) -> str:
    """The answers for the report of a failed test."""
    return "\n" + "\n".join(map(str, answers))


def found(cluster: DevCluster) -> DevCluster:
    """Founds the polity with all nodes of the cluster, or makes sure that it is founded."""
    said = ask(cluster.running[0], "found", "--expect", str(len(cluster.nodes)))
    assert said.code == OK, said
    assert said.data["population"] == len(cluster.nodes), said
    return cluster


def ledger_of(node: DevNode, namespace: str = "polity") -> Path:
    """The file of a node's ledger, whether or not it is there."""
    return Path(ledger_path(str(node.state_dir), namespace, node.name))


def ledger_files(node: DevNode) -> list[Path]:
    """All that makes up a node's ledger on the disk."""
    file = ledger_of(node)
    return [path for path in (file, Path(f"{file}-wal"), Path(f"{file}-shm")) if path.exists()]


def register_of(node: DevNode, role: str) -> Register:
    """What a node's voter remembers of a role."""
    ledger = Ledger.open(str(ledger_of(node)), node.name, create=False)
    assert ledger is not None, f"{node.name} has no ledger"
    with closing(ledger):
        return ledger.register(role)


def dump(node: DevNode) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of a node's ledger."""
    with closing(sqlite3.connect(ledger_of(node))) as db:
        tables = {name: f"SELECT * FROM {name} ORDER BY 1, 2" for name in ("self", "register", "page")}
        return {name: db.execute(sql).fetchall() for name, sql in tables.items()}


def dump_all(cluster: DevCluster) -> dict[str, dict[str, list[tuple[Any, ...]]]]:
    """Every row of every ledger, by node name."""
    return {node.name: dump(node) for node in cluster.nodes}


def wait_until_heard(cluster: DevCluster, role: str, term: int) -> None:
    """Waits until every voter knows for certain that the role is in this term.

    Serf loses an announcement now and then; whoever asks the voter that missed it repeats it.
    """

    def heard() -> bool:
        return all(register_of(node, role).confirmed.term >= term for node in cluster.running)

    for node in cluster.running * 3:
        try:
            wait_for(heard, 1.0, f"all voters to hear of term {term} of {role}")
        except SerfTimeout:
            node.polity("who", role)
        else:
            return
    wait_for(heard, 1.0, f"all voters to hear of term {term} of {role}")
