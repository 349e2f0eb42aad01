"""Take-overs on real agents: who is gone loses what is configured so, and nobody else anything."""

from __future__ import annotations

import shlex
import sys
from contextlib import ExitStack
from pathlib import Path

from polity_cli.core.succession import turn_s
from polity_cli.devcluster import DevNode, wait_for
from tests.serf.conftest import ClusterFactory
from tests.serf.test_run import clock, end, pid_in, running
from tests.serf.verbs import NO, OK, VACANT, ask, found, register_of

PATIENCE_S = 60

# The role `fast` is recalled as soon as Serf says so; the others say by their names what is special.
ROLES = """
[roles.fast]
takeover_delay = 0

[roles.slow]
takeover_delay = 60

[roles.picky]
takeover_delay = 0
only_if = 'test "$POLITY_NODE" = LAST'

[roles.nobodys]
only_if = ["false"]

[roles.job]
candidate = false
recall = true
takeover_delay = 5
"""


def configured(folder: Path, text: str) -> dict[str, str]:
    config = folder / "polity.toml"
    config.write_text(text)
    return {"POLITY_CONFIG": str(config)}


def hold(node: DevNode, role: str) -> None:
    """Have the node hold the role: whoever recalls it to elect another is faster than all candidates."""
    if ask(node, "elect", role).code == NO:
        assert ask(node, "recall", role).code in (OK, VACANT)
        assert ask(node, "elect", role).code == OK


def holder(node: DevNode, role: str) -> str | None:
    """The holder as the node's own voter has it."""
    return register_of(node, role).confirmed.holder


def test_agents_take_over_what_is_configured_so(cluster: ClusterFactory, tmp_path: Path) -> None:
    survivors = {"n2", "n3", "n4"}
    first, *_, last = sorted(survivors, key=lambda name: turn_s(name, survivors, "picky", 0))
    nodes = found(cluster(4, voters="agent", env=configured(tmp_path, ROLES.replace("LAST", last))))
    n1, n2, n3, n4 = nodes.nodes
    for role in ("fast", "slow", "picky"):
        hold(n1, role)
    before = {role: ask(n2, "who", role).data["term"] for role in ("fast", "slow", "picky")}
    bounds = ("--check", "0.2", "--grace", "0.7", "--kill-grace", "0.2")
    started = tmp_path / "started"
    with ExitStack() as runs:
        old = runs.enter_context(running(n1, "job", *bounds, "--", *clock(started)))
        pid_in(started)
        words = ("--", "/bin/sh", "-c", "echo $POLITY_TERM")
        patient = ("--check", "0.3", "--grace", "4", "--kill-grace", "0.5")
        waiting = runs.enter_context(running(n2, "job", "--wait", *patient, *words))
        assert waiting.stderr is not None
        while "n1 holds job (term 1)" not in (line := waiting.stderr.readline()):
            assert line, "it ended without standing by"
        n1.kill()
        assert end(old)[0] == 122, "its command ended before the role was anybody else's"
        wait_for(lambda: holder(n2, "fast") in survivors, PATIENCE_S, "a successor")
        wait_for(lambda: holder(n2, "picky") == last, PATIENCE_S, "the only node that is fit to take over")
        assert end(waiting)[:2] == (0, "3\n")
    for node in (n2, n3, n4):
        wait_for(lambda node=node: "slow: n1 holds it" in node.voter_log.read_text(), 5, "it to be seen")  # type: ignore[misc]
    n1.start()
    for node in (n2, n3, n4):
        wait_for(
            lambda node=node: (
                f"slow: n1 holds it (term {before['slow']}) and is back" in node.voter_log.read_text()
            ),  # type: ignore[misc]
            PATIENCE_S,
            f"{node.name} to see n1 come back",
        )
    now = {role: ask(n3, "who", role).data for role in ("fast", "slow", "picky")}
    assert (now["slow"]["holder"], now["slow"]["term"]) == ("n1", before["slow"]), "it came back in time"
    assert (now["fast"]["term"], now["picky"]["term"]) == (before["fast"] + 2, before["picky"] + 2)
    recalls = [node.voter_log.read_text().count("fast: recalled from n1") for node in (n2, n3, n4)]
    assert sorted(recalls) == [0, 0, 1], "one of them did it, and the others saw that it was done"
    unfit = "this node does not stand for it: only_if ended with 1"
    # Once at most: while it was at another role its turn may have gone by.
    assert nodes[first].voter_log.read_text().count(f"picky: {unfit}") <= 1
    assert [node.voter_log.read_text().count(f"nobodys: {unfit}") for node in (n2, n3, n4)] == [1, 1, 1]
    assert ask(n3, "who", "nobodys").code == VACANT

    # A role that is taken from a node that lives goes to another one.
    loser = now["fast"]["holder"]
    assert ask(n1, "recall", "fast").code == OK

    def successor() -> str | None:
        tenure = register_of(n2, "fast").confirmed
        return tenure.holder if tenure.term > now["fast"]["term"] else None

    wait_for(successor, PATIENCE_S, "somebody to stand for it")
    assert successor() != loser


def test_where_there_are_only_hooks_they_have_it_done(cluster: ClusterFactory, tmp_path: Path) -> None:
    hook = shlex.quote(str(Path(sys.executable).parent / "polity-hook"))
    events = ("query:polity", "user:polity", "member-join,member-failed,member-leave,member-reap")
    text = "[roles.fast]\ntakeover_delay = 0\n[roles.slow]\ntakeover_delay = 3600\n"
    nodes = found(
        cluster(
            4,
            voters="hook",
            env=configured(tmp_path, text),
            serf_config={"event_handlers": [f"{kind}={hook}" for kind in events]},
        )
    )
    n1, n2, n3, _ = nodes.nodes
    hold(n1, "fast")
    hold(n1, "slow")
    n1.kill()
    wait_for(lambda: holder(n2, "fast") in ("n2", "n3", "n4"), PATIENCE_S, "a successor")
    assert ask(n3, "who", "slow").data["holder"] == "n1"
    # What looks after the roles waits for `slow` still, and there is one on each node.
    again = n2.polity("succeed")
    assert again.returncode == OK
    assert again.stderr == "polity: somebody on this node looks after the roles already\n"
    n1.start()

    def is_over() -> bool:
        done = n2.polity("succeed")
        return done.returncode == OK and not done.stderr

    wait_for(is_over, PATIENCE_S, "nothing to be left to do")
    assert ask(n3, "who", "slow").data["holder"] == "n1"
