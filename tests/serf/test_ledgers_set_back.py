"""Ledgers that were set back or copied, on real agents: refused, named, and brought back by the way out."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from polity_cli.devcluster import DevCluster, DevNode
from tests.serf.conftest import ClusterFactory
from tests.serf.verbs import NO, NO_QUORUM, OK, UNFIT, Said, ask, found, ledger_files, ledger_of


def ok(said: Said) -> Said:
    assert said.code == OK, said
    return said


def three(cluster: ClusterFactory) -> DevCluster:
    nodes = cluster(3, voters="agent")
    ok(ask(nodes["n1"], "found", "--expect", "3", "--min-votes", "2"))
    return nodes


def keep(node: DevNode, folder: Path) -> None:
    """Copies a node's ledger while nothing has it open, as a snapshot of its disk would."""
    node.kill()
    folder.mkdir()
    for file in ledger_files(node):
        shutil.copy(file, folder / file.name)
    node.start()


def put_back(node: DevNode, folder: Path) -> None:
    node.kill()
    for file in ledger_files(node):
        file.unlink()
    for file in folder.iterdir():
        shutil.copy(file, node.state_dir / file.name)
    node.start()


def move_away(node: DevNode) -> None:
    """The way out, as the messages tell it."""
    node.kill_voter()
    aside = node.folder / "set-back"
    aside.mkdir()
    for file in ledger_files(node):
        shutil.move(file, aside / file.name)
    node.start_voter()


def found_by(node: DevNode, check: str) -> tuple[str, str, str] | None:
    """What `polity doctor` on a node finds under this name: level, text and advice."""
    for finding in ask(node, "doctor").data["findings"]:
        if finding["check"] == check:
            return finding["level"], finding["text"], finding["advice"]
    return None


def test_a_voter_whose_ledger_was_set_back_is_refused_named_and_brought_back_as_another(
    cluster: ClusterFactory, tmp_path: Path
) -> None:
    nodes = three(cluster)
    n1, n2, n3 = nodes.nodes
    keep(n2, tmp_path / "snapshot")
    nodes.wait_converged()
    # n1 is elected by itself and n2; the voter of n3 hears nothing of it, who asks there does.
    n3.kill_voter()
    assert ok(ask(n1, "elect", "leader")).data["term"] == 1
    # So many changes that what Serf tells a node again when it is back does not make up for them.
    for role in map(str, range(6)):
        ok(ask(n1, "elect", role))
    assert ok(ask(n3, "who", "leader")).data["holder"] == "n1"

    n1.kill()
    put_back(n2, tmp_path / "snapshot")
    n3.start_voter()
    nodes.wait_converged()
    # Two of three voters answer. One of them has forgotten that it voted.
    refused = ask(n3, "elect", "leader", "--timeout", "8")
    assert refused.code in (NO_QUORUM, 6), refused
    assert "n2" in refused.data["silent"], refused
    assert "n2: its ledger was set back" in refused.talk, refused
    assert "`polity voters add n2`" in refused.talk, refused
    shown = ask(n3, "who", "leader", "--verbose", "--timeout", "3")
    assert "(ignored: its ledger was set back" in shown.talk, shown

    said = ask(n3, "voters")
    rows = {row["node"]: row for row in said.data["voters"]}
    assert [(rows[n]["set_back"], rows[n]["answers"]) for n in ("n2", "n3")] == [(True, False), (False, True)]
    assert said.data["has_quorum"] is False, said
    assert "n2: its ledger was set back" in said.data["hint"]
    level, text, advice = found_by(n3, "set back") or ("", "", "")
    assert (level, text.partition(":")[0]) == ("FAIL", "n2")
    assert "move its ledger away" in advice
    named = ask(n3, "voters", "add", "n2")
    assert named.code == UNFIT, named
    assert "the ledger of n2 was set back" in named.data["error"], named

    n1.start()
    nodes.wait_converged()
    move_away(n2)
    changed = ok(ask(n3, "voters", "add", "n2")).data
    assert (changed["enrols"], changed["strikes"]) == (["n2"], ["n2"])
    lost = ask(n2, "elect", "leader")
    assert (lost.code, lost.data["holder"], lost.data["term"]) == (NO, "n1", 1), lost
    for node in (n1, n3):
        assert all(row["answers"] and not row["set_back"] for row in ok(ask(node, "voters")).data["voters"])
        assert found_by(node, "set back") is None
    n1.kill()
    assert ok(ask(n3, "elect", "other")).data["votes"]["yes"] >= 2, "the new voter of n2 counts"


def serial_of(node: DevNode) -> int:
    with closing(sqlite3.connect(ledger_of(node))) as db:
        ((serial,),) = db.execute("SELECT serial FROM self").fetchall()
    return int(serial)


def test_a_ledger_set_back_by_one_election_that_has_caught_up_since_is_found_as_well(
    cluster: ClusterFactory, tmp_path: Path
) -> None:
    nodes = three(cluster)
    n1, n2, n3 = nodes.nodes
    keep(n2, tmp_path / "snapshot")
    nodes.wait_converged()
    n3.kill_voter()
    assert ok(ask(n1, "elect", "leader")).data["term"] == 1
    assert ok(ask(n3, "who", "leader")).data["holder"] == "n1"
    lost = serial_of(n2)

    n1.kill()
    put_back(n2, tmp_path / "snapshot")
    n3.start_voter()
    nodes.wait_converged()
    # Who has no ledger remembers nothing of n2, and its elections give n2 all the changes that it has lost.
    nowhere = str(tmp_path / "nowhere")
    for number in range(20):
        if serial_of(n2) > lost:
            break
        ok(ask(n3, "elect", f"other-{number}", "--state-dir", nowhere))
    assert serial_of(n2) > lost
    refused = ask(n3, "elect", "leader", "--timeout", "8")
    assert refused.code in (NO_QUORUM, 6), refused
    assert "n2: its ledger was set back" in refused.talk, refused
    # The voter itself knows by now, and takes no part whoever asks.
    assert ask(n3, "elect", "another", "--state-dir", nowhere, "--timeout", "8").code in (NO_QUORUM, 6)
    assert (found_by(n2, "set back") or ("",))[0] == "FAIL"


def test_a_voter_that_was_only_stopped_and_restarted_is_never_called_set_back(
    cluster: ClusterFactory,
) -> None:
    nodes = found(cluster(3, voters="agent"))
    for turn in range(3):
        for node in nodes.nodes:
            ok(ask(node, "elect", f"{node.name}-{turn}"))
        nodes.nodes[turn].kill()
        nodes.heal()
    for node in nodes.nodes:
        assert not any(row["set_back"] for row in ok(ask(node, "voters")).data["voters"])


def test_a_cloned_ledger_is_named_on_the_clone_and_elsewhere_and_its_node_gets_one_of_its_own(
    cluster: ClusterFactory,
) -> None:
    nodes = three(cluster)
    n1, n2, _ = nodes.nodes
    n4 = nodes.add_node()
    nodes.wait_converged()
    n2.kill()
    n4.kill_voter()
    for file in ledger_files(n4):
        file.unlink()
    for file in ledger_files(n2):
        shutil.copy(file, str(ledger_of(n4)) + file.name.removeprefix(ledger_of(n2).name))
    n2.start()
    nodes.wait_converged()

    # As it is, its own program refuses it.
    level, text, advice = found_by(n4, "ledger") or ("", "", "")
    assert (level, "belongs to the node 'n2'" in text) == ("FAIL", True), text
    assert "move it away" in advice
    # And if somebody has written the clone's name into it, nobody counts it.
    with closing(sqlite3.connect(ledger_of(n4))) as db:
        db.execute("UPDATE self SET node = 'n4'")
        db.commit()
    n4.start_voter()
    level, text, advice = found_by(n4, "copies") or ("", "", "")
    assert (level, text) == ("FAIL", "n4 answers with the voter id of n2: its ledger is a copy")
    assert "move its ledger away" in advice
    assert (found_by(n1, "copies") or ("",))[0] == "warn"
    said = ok(ask(n1, "voters"))
    assert "n4: a copy of another node's ledger" in said.data["hint"], said
    assert ok(ask(n1, "elect", "leader")).data["votes"]["population"] == 3
    assert found_by(n1, "set back") is None, "the copy says nothing of the original"
    refused = ask(n1, "voters", "add", "n4")
    assert refused.code == UNFIT, refused

    move_away(n4)
    assert ok(ask(n1, "voters", "add", "n4")).data["enrols"] == ["n4"]
    assert found_by(n4, "copies") is None
    assert found_by(n4, "enrolment") == ("ok", "n4 is one of the 4 voters", "")
