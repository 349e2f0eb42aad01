"""The commands on real agents: exit codes, what is on which stream, JSON by its table, and interruptions."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from polity_cli.cli import shapes
from polity_cli.devcluster import DevCluster, DevNode, wait_for
from tests.serf.conftest import ClusterFactory
from tests.serf.verbs import ledger_of


@pytest.fixture
def nodes(shared_cluster: ClusterFactory) -> DevCluster:
    """Three voters of which one may fail; the tests of this module share them."""
    shared = shared_cluster(3)
    done = shared["n1"].polity("found", "--expect", "3", "--min-votes", "2")
    assert done.returncode == 0, done
    return shared


def ask(node: DevNode, *words: str, code: int) -> dict[str, Any]:
    """The object that `polity WORDS --json` answers with, checked: its shape, its streams, its exit code."""
    done = node.polity(*words, "--json")
    assert done.returncode == code, done
    assert done.stdout.count("\n") == 1, done
    answer = json.loads(done.stdout)
    assert isinstance(answer, dict)
    assert shapes.mismatches(answer) == [], done
    assert answer["command"] == words[0]
    assert answer.get("exit_code", 0) == code
    assert ("polity: " in done.stderr) == (code != 0), done
    return answer


def tell(node: DevNode, *words: str, code: int) -> tuple[str, str]:
    """What `polity WORDS` prints on stdout and on stderr."""
    done = node.polity(*words)
    assert done.returncode == code, done
    return done.stdout, done.stderr


def kill_two(nodes: DevCluster) -> None:
    nodes["n2"].kill()
    nodes["n3"].kill()


def wait_until_failed(nodes: DevCluster) -> None:
    wait_for(
        lambda: list(nodes["n1"].members().values()).count("failed") == 2, 30, "Serf to call two nodes failed"
    )


def test_an_election_is_won_then_held_and_lost_by_others(nodes: DevCluster) -> None:
    won = ask(nodes["n1"], "elect", "a b", code=0)
    assert (won["outcome"], won["holder"], won["candidate"]) == ("won", "n1", "n1")
    held = ask(nodes["n1"], "elect", "a b", code=0)
    assert (held["outcome"], held["term"]) == ("held", won["term"])
    lost = ask(nodes["n2"], "elect", "a b", code=3)
    assert (lost["outcome"], lost["holder"], lost["candidate"]) == ("lost", "n1", "n2")
    assert tell(nodes["n1"], "elect", "a b", code=0) == (f"n1 already holds a b (term {won['term']})\n", "")
    out, err = tell(nodes["n3"], "elect", "a b", code=3)
    assert out == ""
    assert err.startswith("polity: n1 holds a b")


def test_who_prints_a_bare_name_for_scripts_and_labels_what_is_only_remembered(nodes: DevCluster) -> None:
    ask(nodes["n2"], "elect", "asked", code=0)
    assert tell(nodes["n3"], "who", "-q", "asked", code=0) == ("n2\n", "")
    assert tell(nodes["n3"], "who", "asked", code=0) == ("n2 holds asked (term 1)\n", "")
    assert ask(nodes["n3"], "who", "asked", code=0)["source"] == "quorum"
    cached = ask(nodes["n2"], "who", "asked", "--cached", code=0)
    assert (cached["holder"], cached["source"]) == ("n2", "ledger")
    out, err = tell(nodes["n2"], "who", "-q", "asked", "--cached", code=0)
    assert out == "n2\n"
    assert "ledger" in err
    assert "ledger" in tell(nodes["n2"], "who", "asked", "--cached", code=0)[0]


def test_a_vacant_role_is_told_by_code_and_an_empty_stdout(nodes: DevCluster) -> None:
    assert ask(nodes["n1"], "who", "nobodys", code=4)["outcome"] == "vacant"
    assert ask(nodes["n1"], "recall", "nobodys", code=4)["outcome"] == "vacant"
    assert tell(nodes["n1"], "who", "-q", "nobodys", code=4)[0] == ""


def test_guards_keep_a_recall_from_hitting_somebody_else(nodes: DevCluster) -> None:
    term = ask(nodes["n1"], "elect", "guarded", code=0)["term"]
    for guard in (["--holder", "n2"], ["--term", str(term + 1)], ["--holder", "n1", "--term", str(term + 1)]):
        answer = ask(nodes["n3"], "recall", "guarded", *guard, code=3)
        assert (answer["outcome"], answer["previous_holder"], answer["term"]) == ("guard", "n1", term)
    out, _ = tell(nodes["n3"], "recall", "guarded", "--holder", "n1", "--term", str(term), code=0)
    assert out == f"guarded is vacant (term {term + 1}); n1 held it\n"
    assert ask(nodes["n2"], "elect", "guarded", code=0)["term"] == term + 2


def test_roles_are_listed_with_holder_and_term(nodes: DevCluster) -> None:
    ask(nodes["n1"], "elect", "listed", code=0)
    ask(nodes["n1"], "elect", "emptied", code=0)
    ask(nodes["n1"], "recall", "emptied", code=0)
    for source, flags in (("quorum", []), ("ledger", ["--cached"])):
        rows = {row["role"]: row for row in ask(nodes["n1"], "roles", *flags, code=0)["roles"]}
        assert rows["listed"] == {"role": "listed", "holder": "n1", "term": 1, "source": source}
        assert rows["emptied"]["holder"] is None
    out, _ = tell(nodes["n3"], "roles", code=0)
    assert {"n1 holds listed (term 1)", "emptied is vacant (term 2)"} <= set(out.splitlines())


def test_voters_shows_the_electorate_and_how_many_may_fail(nodes: DevCluster) -> None:
    answer = ask(nodes["n2"], "voters", code=0)
    assert (answer["quorum"], answer["population"], answer["may_fail"]) == (2, 3, 1)
    rows = [(row["node"], row["status"], row["enrolled"], row["answers"]) for row in answer["voters"]]
    assert rows == [(name, "alive", True, True) for name in ("n1", "n2", "n3")]
    out, _ = tell(nodes["n2"], "voters", code=0)
    assert "1 of them may still fail" in out


def test_founding_again_is_fine_unless_something_else_is_asked_for(nodes: DevCluster) -> None:
    for words in ([], ["--min-votes", "2"], ["--expect", "2"]):
        answer = ask(nodes["n3"], "found", *words, code=0)
        assert (answer["outcome"], answer["quorum"], answer["may_fail"]) == ("already_founded", 2, 1)
    for words in (["--min-votes", "3"], ["--percent", "70"], ["--expect", "4"]):
        answer = ask(nodes["n3"], "found", *words, code=8)
        assert "founded before" in answer["error"]


def test_verbose_shows_how_each_voter_voted_and_leaves_stdout_alone(nodes: DevCluster) -> None:
    out, err = tell(nodes["n1"], "elect", "shown", "--verbose", code=0)
    assert out == "n1 holds shown (term 1)\n"
    assert re.search(r"^ +\d+\.\d ms  --> stand\(shown, ", err, re.MULTILINE)
    assert len(re.findall(r" ms  <-- n\d: YES; promised ", err)) >= 2
    assert "could not be read" not in err


def test_doctor_finds_a_healthy_node_fit(nodes: DevCluster) -> None:
    answer = ask(nodes["n1"], "doctor", "--state-dir", str(nodes["n1"].state_dir), code=0)
    levels = {finding["check"]: finding["level"] for finding in answer["findings"]}
    assert answer["outcome"] == "fit"
    for check in ("configuration", "serf", "tag", "ledger", "voter", "record", "enrolment", "quorum", "hook"):
        assert levels[check] == "ok", answer


def test_advice_for_another_namespace_names_it(nodes: DevCluster) -> None:
    answer = ask(nodes["n1"], "doctor", "--namespace", "db", code=8)
    hints = {finding["check"]: finding["advice"] for finding in answer["findings"]}
    assert "`polity serf-config --namespace db`" in hints["tag"]
    unfounded = ask(nodes["n1"], "found", "--namespace", "db", code=8)
    assert "`polity serf-config --namespace db`" in unfounded["hint"]


def test_doctor_tells_a_damaged_ledger_from_one_that_is_elsewhere(nodes: DevCluster, tmp_path: Path) -> None:
    (tmp_path / ledger_of(nodes["n1"]).name).write_bytes(b"this is no ledger at all" * 100)
    answer = ask(nodes["n1"], "doctor", "--state-dir", str(tmp_path), code=8)
    findings = {finding["check"]: finding for finding in answer["findings"]}
    assert findings["ledger"]["level"] == "FAIL"
    assert findings["voter"]["level"] == "ok"
    elsewhere = ask(nodes["n1"], "doctor", "--state-dir", str(nodes["n2"].state_dir), code=0)
    assert {f["check"]: f["level"] for f in elsewhere["findings"]}["ledger"] == "warn"


def test_too_few_voters_are_no_quorum_soon_and_by_name(nodes: DevCluster) -> None:
    ask(nodes["n1"], "elect", "before", code=0)
    kill_two(nodes)
    wait_until_failed(nodes)
    started = time.monotonic()
    for word in ("elect", "recall", "who"):
        role = "fresh" if word == "elect" else "before"
        answer = ask(nodes["n1"], word, role, code=5)
        assert (answer["outcome"], answer["silent"]) == ("no_quorum", ["n2", "n3"])
    assert ask(nodes["n1"], "roles", code=5)["outcome"] == "error"
    assert time.monotonic() - started < 30, "each gives up when Serf shows that it is hopeless"
    assert ask(nodes["n1"], "who", "before", "--cached", code=0)["holder"] == "n1"
    present = ask(nodes["n1"], "voters", code=0)
    assert (present["has_quorum"], present["may_fail"]) == (False, 0)
    assert "n2, n3" in present["hint"]
    assert ask(nodes["n1"], "doctor", code=8)["outcome"] == "unfit"

    # The same hopeless wait, interrupted.
    with nodes["n1"].popen("elect", "interrupted", "--wait", "--json", "-v", "--timeout", "60") as command:
        assert command.stderr is not None
        assert "read(interrupted)" in command.stderr.readline()
        command.send_signal(signal.SIGTERM)
        out, err = command.communicate(timeout=10)
    assert command.returncode == 143
    answer = json.loads(out)
    assert shapes.mismatches(answer) == []
    assert (answer["outcome"], answer["exit_code"]) == ("no_quorum", 143)
    assert "polity: interrupted; nothing of it can take effect" in err

    # And on a terminal.
    ours, theirs = pty.openpty()
    command_line = [sys.executable, "-m", "polity_cli", "who", "before", "--wait", "--timeout", "2.5"]
    env = nodes["n1"].env | {"TERM": "xterm", "PYTHONUTF8": "1"}
    waiting = subprocess.Popen(command_line, env=env, stdout=subprocess.PIPE, stderr=theirs)
    os.close(theirs)
    assert waiting.communicate(timeout=30)[0] == b""
    assert waiting.returncode == 5
    shown = os.read(ours, 100_000).decode()
    os.close(ours)
    drawn, _, told = shown.rpartition("\r\x1b[K")
    assert "waiting: 1 of 2 answers; no answer yet from n2 (failed), n3 (failed)" in drawn
    assert told.startswith("polity: no quorum")


def test_an_interrupted_candidacy_says_that_it_may_take_effect(nodes: DevCluster) -> None:
    ask(nodes["n1"], "voters", code=0)
    # Paused, so that Serf believes them alive for some seconds and this node stands.
    nodes["n2"].pause()
    nodes["n3"].pause()
    with nodes["n1"].popen("elect", "in doubt", "--json", "-v", "--timeout", "60") as command:
        assert command.stderr is not None
        while "<-- n1: YES" not in (line := command.stderr.readline()):
            assert line
        command.send_signal(signal.SIGINT)
        out, err = command.communicate(timeout=10)
    assert command.returncode == 130
    answer = json.loads(out)
    assert shapes.mismatches(answer) == []
    assert (answer["outcome"], answer["may_take_effect"]) == ("unknown", True)
    assert "interrupted; it may take effect" in err
    assert "polity who" in err


def test_a_second_signal_ends_a_command_that_hangs_in_the_agent(nodes: DevCluster) -> None:
    kill_two(nodes)
    with nodes["n1"].popen("elect", "hung", "--wait", "-v", "--timeout", "60") as command:
        assert command.stderr is not None
        assert "hung" in command.stderr.readline()
        nodes["n1"].pause_serf()
        command.send_signal(signal.SIGTERM)
        command.send_signal(signal.SIGINT)
        command.communicate(timeout=5)
    assert command.returncode in (130, 143)


def test_a_polity_of_one_and_a_newcomer_that_is_not_enrolled(cluster: ClusterFactory) -> None:
    alone = cluster(1, voters="agent")
    first = alone["n1"]
    refused = ask(first, "elect", "leader", code=8)
    assert "3 voters or more" in refused["error"]
    assert ask(first, "who", "leader", code=8)["outcome"] == "error"
    founded = ask(first, "found", "--expect", "1", "--min-votes", "1", code=0)
    assert (founded["outcome"], founded["quorum"]) == ("founded", 1)
    assert ask(first, "elect", "leader", code=0)["outcome"] == "won"

    newcomer = alone.add_node()
    alone.wait_converged()

    def rows() -> dict[str, bool] | None:
        answer = ask(first, "voters", code=0)
        found = {row["node"]: row["enrolled"] for row in answer["voters"]}
        assert ("n2" in answer["hint"]) == ("n2" in found)
        return found if "n2" in found else None

    assert wait_for(rows, 15, "the newcomer's voter to answer") == {"n1": True, "n2": False}
    assert "not enrolled: its votes do not count" in tell(first, "voters", code=0)[0]
    assert ask(newcomer, "elect", "leader", code=3)["holder"] == "n1"
    unfit = ask(newcomer, "doctor", code=8)
    assert {f["check"]: f["level"] for f in unfit["findings"]}["enrolment"] == "FAIL"

    status = Path(f"/proc/{first.voter_pid}/status").read_text()
    resident_kb = int(re.findall(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)[0])
    assert resident_kb < 30_000, "`polity agent` stays small"


def test_a_wrong_or_missing_token_is_refused_and_the_right_one_is_taken(
    cluster: ClusterFactory, tmp_path: Path
) -> None:
    node = cluster(1, voters="none", rpc_auth="the right one")["n1"]
    wrong, right = tmp_path / "wrong", tmp_path / "right"
    wrong.write_text("another\n")
    right.write_text("the right one\n")
    assert "token" in ask(node, "who", "x", "--rpc-auth-file", str(wrong), code=7)["error"].lower()
    # It gets past the agent, and there is no voter.
    ask(node, "who", "x", "--rpc-auth-file", str(right), "--timeout", "2", code=5)
    bare = {name: value for name, value in node.env.items() if name != "SERF_RPC_AUTH"}
    done = subprocess.run(
        [sys.executable, "-m", "polity_cli", "voters"], env=bare, capture_output=True, text=True, check=False
    )
    assert done.returncode == 7, done
    assert "--rpc-auth-file" in done.stderr
