"""A majority of the voters is gone for ever: what the survivors do, by commands alone, on real agents."""

from __future__ import annotations

from polity_cli.cli import shapes
from polity_cli.core.rescue import TERM_JUMP
from polity_cli.devcluster import DevNode, wait_for
from tests.serf.conftest import ClusterFactory
from tests.serf.verbs import (
    NO,
    NO_QUORUM,
    OK,
    UNFIT,
    UNKNOWN,
    Said,
    ask,
    found,
    ledger_files,
    wait_until_heard,
)

SURE = "--i-know-that-decisions-may-be-lost"


def ok(said: Said) -> Said:
    assert said.code == OK, said
    return said


def lose_ledger(node: DevNode) -> None:
    for file in ledger_files(node):
        file.unlink()


def told_apart(node: DevNode, *command: str, other: str) -> None:
    """Waits until a command is refused over the other polity; until then it must decide nothing."""

    def refused() -> bool:
        said = ask(node, *command, "--timeout", "5")
        assert said.code in (UNFIT, NO_QUORUM, UNKNOWN), said
        return said.code == UNFIT and other in said.data["error"]

    wait_for(refused, 40, f"{' '.join(command)} on {node.name} to meet polity {other}")


def findings(node: DevNode) -> dict[str, str]:
    """What doctor finds on a node: checks and their levels."""
    return {row["check"]: row["level"] for row in ask(node, "doctor").data["findings"]}


def test_one_survivor_of_five_is_rescued_and_takes_the_other_in(cluster: ClusterFactory) -> None:
    nodes = found(cluster(5, voters="agent"))
    n1, n2, n3, n4, n5 = nodes.nodes
    ok(ask(n3, "elect", "lost holder"))
    ok(ask(n2, "elect", "kept"))
    ok(ask(n4, "elect", "recalled"))
    ok(ask(n1, "recall", "recalled"))
    for role, term in (("lost holder", 1), ("kept", 1), ("recalled", 2)):
        wait_until_heard(nodes, role, term)
    for node in (n3, n4, n5):
        node.kill()
    lose_ledger(n3)
    lose_ledger(n4)
    stuck = ask(n1, "recall", "lost holder", "--timeout", "4")
    assert stuck.code in (NO_QUORUM, UNKNOWN), stuck

    shown = ok(ask(n2, "voters", "rescue", "--show")).data
    assert shown["population"] == 5
    known = {row["role"]: (row["holder"], row["term"]) for row in shown["roles"]}
    assert known == {"lost holder": ("n3", 1), "kept": ("n2", 1), "recalled": (None, 2)}
    assert ask(n1, "voters", "rescue").code == 2
    assert "rescue" not in findings(n1)

    rescued = ok(ask(n1, "voters", "rescue", SURE)).data
    assert shapes.mismatches(rescued) == []
    assert rescued["polity"] != shown["polity"] == rescued["old_polity"]
    assert findings(n1)["rescue"] == "warn"

    # The other survivor still belongs to the old polity, and both sides are told so.
    told_apart(n2, "who", "kept", other=rescued["polity"])
    wait_for(lambda: ask(n1, "who", "lost holder").code == UNFIT, 20, "who on n1 to hear of n2")
    wait_for(lambda: ask(n1, "voters").code == UNFIT, 20, "n1 to hear of n2")
    n2.kill()
    lose_ledger(n2)
    n2.start()
    nodes.wait_converged()
    added = ok(ask(n1, "voters", "add", "n2")).data
    assert set(added["carried"]) >= {"lost holder", "kept", "recalled"}
    assert (added["after"]["population"], added["after"]["quorum"]) == (2, 2)
    lost = ask(n1, "elect", "lost holder")
    assert (lost.code, lost.data["holder"], lost.data["term"]) == (NO, "n3", 1 + TERM_JUMP), lost
    held = ok(ask(n2, "elect", "kept")).data
    assert (held["outcome"], held["term"]) == ("held", 1 + TERM_JUMP)
    recalled = ok(ask(n2, "recall", "lost holder", "--holder", "n3")).data
    assert recalled["term"] == 2 + TERM_JUMP
    assert ok(ask(n2, "elect", "lost holder")).data["term"] == 3 + TERM_JUMP
    assert ok(ask(n1, "elect", "recalled")).data["term"] == 3 + TERM_JUMP

    # An old voter comes back with its ledger: it decides nothing, and is told apart.
    n5.start()
    nodes.wait_converged()
    for command in ("who", "elect", "recall"):
        told_apart(n5, command, "kept", other=rescued["polity"])
    wait_for(lambda: ask(n1, "voters").code == UNFIT, 20, "n1 to hear of n5")
    wait_for(lambda: findings(n1).get("polities") == "FAIL", 40, "doctor on n1 to hear of n5")
    n5.kill()
    lose_ledger(n5)
    n5.start()
    nodes.wait_converged()
    ok(ask(n5, "voters", "sync"))
    three = ok(ask(n5, "voters")).data
    assert (three["population"], three["quorum"], three["polity"]) == (3, 2, rescued["polity"])
    assert ask(n5, "who", "kept").data["term"] == 1 + TERM_JUMP
