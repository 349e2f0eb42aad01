"""One voter as the whole electorate: what goes on, what is kept, what is refused, and who is told apart."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polity_cli import rescue as room
from polity_cli.cli import shapes
from polity_cli.conduct import Conductor
from polity_cli.core import messages as m
from polity_cli.core import rescue as rules
from polity_cli.core.ballot import ZERO, Ballot
from polity_cli.core.change_state import Verdict as Changed
from polity_cli.core.electorate import Electorate, Enrolled, Roll, founding_record
from polity_cli.core.messages import OTHER_POLITY, Register
from polity_cli.core.operation import Order, Outcome, Purpose, Verdict
from polity_cli.core.quorum import SimpleMajority
from polity_cli.core.tenure import ELECTORATE, VACANT, Tenure
from polity_cli.core.voter import receive
from polity_cli.edges import wire
from polity_cli.edges.ledger import Ledger, ledger_path
from polity_cli.edges.memory_ledger import MemoryLedger
from polity_cli.errors import BadInput, LedgerError, TwoPolities, Unfit
from tests import strategies as some
from tests.fake_network import POLITY, FakeNetwork, SeededDraws, voter_id
from tests.ledgers import Child

ROLES = ("confirmed by all", "recalled", "voted for", "only asked for")


# What of a ledger goes on


def ballots(register: Register) -> tuple[Ballot, ...]:
    return register.promised, register.accepted, register.confirmed_ballot


@given(st.dictionaries(some.roles, some.registers(), max_size=5), st.integers(2, 10**12))
def test_every_role_goes_on_with_its_newest_holder_in_a_term_and_at_a_ballot_above_all_known(
    registers: dict[str, Register], jump: int
) -> None:
    new = rules.rescue(registers, "n1", jump=jump, draws=SeededDraws(), codec=wire)
    decided = dict(new.registers)
    assert set(decided) == {ELECTORATE, *registers}
    for role, old in registers.items():
        register = decided[role]
        newest = old.confirmed if old.confirmed_ballot >= old.accepted else old.tenure
        assert register.confirmed.holder == newest.holder
        assert register.confirmed.term >= max(old.tenure.term, old.confirmed.term) + jump
        assert register.confirmed.term % 2 == (newest.holder is not None), "vacant terms are even"
        assert min(ballots(register)) > max(b for other in registers.values() for b in ballots(other))
        assert register.accepted == register.promised == register.confirmed_ballot
        assert register.tenure == register.confirmed
        assert not register.accepted.is_fast


@pytest.mark.parametrize(
    ("register", "tenure", "known"),
    [
        (Register(), VACANT, rules.PROMISED),
        (Register(promised=Ballot(9, b"proposer")), VACANT, rules.PROMISED),
        (Register(Ballot(9, b"p"), ZERO.fast, Tenure(1, "n2", b"c")), Tenure(1, "n2", b"c"), rules.ACCEPTED),
        (
            Register(
                Ballot(9, b"p"),
                Ballot(5, b"p"),
                Tenure(1, "n2", b"c"),
                Ballot(5, b"p"),
                Tenure(1, "n2", b"c"),
            ),
            Tenure(1, "n2", b"c"),
            rules.CONFIRMED,
        ),
        (
            Register(
                Ballot(9, b"p"),
                Ballot(5, b"p"),
                Tenure(1, "n2", b"c"),
                Ballot(7, b"p"),
                Tenure(3, "n4", b"d"),
            ),
            Tenure(3, "n4", b"d"),
            rules.CONFIRMED,
        ),
        (
            Register(
                Ballot(9, b"p"),
                Ballot(8, b"p"),
                Tenure(4, None, b"c"),
                Ballot(7, b"p"),
                Tenure(3, "n4", b"d"),
            ),
            Tenure(4, None, b"c"),
            rules.ACCEPTED,
        ),
    ],
    ids=["nothing", "a promise", "a vote", "all the same", "news of what was missed", "accepted since"],
)
def test_the_newest_tenure_is_that_of_the_highest_ballot_and_known_for_certain_only_if_confirmed(
    register: Register, tenure: Tenure, known: str
) -> None:
    assert rules.newest(register) == (tenure, known)


@given(st.dictionaries(some.roles, some.registers(), max_size=3), st.sampled_from((0, 1_790_000_000_000)))
def test_a_newcomer_takes_the_ballots_of_a_rescued_polity(registers: dict[str, Register], now: int) -> None:
    class Draws(SeededDraws):
        def round_floor(self) -> int:
            return now

    usual = {
        role: register._replace(
            promised=Ballot(min(now, 7), b"proposer"),
            accepted=ZERO,
            confirmed_ballot=Ballot(min(now, 5), b"p"),
        )
        for role, register in registers.items()
    }
    new = rules.rescue(usual, "n1", draws=Draws(), codec=wire)
    fresh = new.me._replace(voter=b"newcomer")
    for role, register in new.registers:
        if role != ELECTORATE:
            above = Ballot(register.promised.round + 1, b"proposer")
            head = (b"attempt1", new.me.polity, new.me.epoch, role)
            reply = receive(fresh, Register(), m.Accept(*head, above, register.tenure)).reply
            assert isinstance(reply, m.State)
            assert reply.tenure == register.tenure


# On a ledger, among others


class Cluster:
    """Voters in memory, but n1 on a disk, in the state directory `state`."""

    def __init__(self, state: Path, size: int = 5) -> None:
        self.state = state
        self.path = ledger_path(str(state), "polity", "n1")
        ledger = Ledger.open(self.path, "n1")
        assert ledger is not None
        self.ledger = ledger
        self.network = FakeNetwork([f"n{number}" for number in range(1, size + 1)])
        self.network.voters["n1"] = ledger  # type: ignore[assignment]
        voters = [Enrolled(ledger.me().voter, "n1")]
        voters += [Enrolled(voter_id(number), f"n{number}") for number in range(2, size + 1)]
        self.old = founding_record(POLITY, voters, SimpleMajority)
        self.network.enter(self.old)

    def conductor(self) -> Conductor:
        return Conductor(self.network, clock=self.network.clock, draws=SeededDraws(len(self.network.sent)))

    def do(
        self, purpose: Purpose, role: str, node: str = "n1", electorate: Electorate | None = None
    ) -> Outcome:
        order = Order(purpose, role, node, len(self.network.sent).to_bytes(8, "big"))
        return self.conductor().run(order, electorate or self.old, local=None, timeout_s=15)

    def history(self) -> None:
        """Gives the roles a past: n1 was away when `recalled` was filled again, and voted once in vain."""
        assert self.do(Purpose.ELECT, ROLES[0], "n3").verdict is Verdict.WON
        assert self.do(Purpose.ELECT, ROLES[1], "n2").verdict is Verdict.WON
        assert self.do(Purpose.RECALL, ROLES[1]).verdict is Verdict.RECALLED
        with self.ledger.transaction(ROLES[2]) as turn:
            turn.save(Register(Ballot(9, b"proposer"), ZERO.fast, Tenure(1, "n4", b"claim--1")))
        with self.ledger.transaction(ROLES[3]) as turn:
            turn.save(Register(Ballot(9, b"proposer")))
        self.network.kill("n1")
        assert self.do(Purpose.ELECT, ROLES[1], "n5").verdict is Verdict.WON
        self.network.down.clear()
        self.network.status.clear()


@pytest.fixture
def five(tmp_path: Path) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path)
    cluster.history()
    yield cluster
    cluster.ledger.close()


def rows(path: str) -> dict[str, list[tuple[Any, ...]]]:
    with closing(sqlite3.connect(path)) as db:
        return {
            table: db.execute(f"SELECT * FROM {table}").fetchall() for table in ("self", "register", "page")
        }


def test_a_rescued_voter_decides_alone_in_higher_terms_and_takes_others_in(five: Cluster) -> None:
    five.network.kill("n2", "n3", "n4", "n5")
    assert five.do(Purpose.QUERY, ROLES[0]).verdict is Verdict.NO_QUORUM
    done = room.carry_out(five.path, "n1", also=["missing here"])
    alone = done.after.electorate
    told = {
        role: five.do(Purpose.QUERY, role, electorate=alone).tenure
        for role in (*ROLES, "missing here", "new")
    }
    assert {role: (tenure.term, tenure.holder) for role, tenure in told.items() if tenure} == {
        ROLES[0]: (1_000_001, "n3"),
        ROLES[1]: (1_000_002, None),
        ROLES[2]: (1_000_001, "n4"),
        ROLES[3]: (1_000_000, None),
        "missing here": (1_000_000, None),
        "new": (0, None),
    }
    assert five.do(Purpose.ELECT, ROLES[0], electorate=alone).verdict is Verdict.LOST
    assert five.do(Purpose.ELECT, ROLES[1], electorate=alone).verdict is Verdict.WON

    five.network.voters |= {name: MemoryLedger(name.encode() * 4) for name in ("n2", "n3")}
    five.network.down -= {"n2", "n3"}
    five.network.status.clear()
    newcomers = [Enrolled(name.encode() * 4, name) for name in ("n2", "n3")]
    wanted = Roll(tuple(sorted([*alone.voters, *newcomers])), alone.current.rule)
    changed = five.conductor().change(alone, wanted, node="n1", timeout_s=30)
    assert changed.verdict is Changed.CHANGED, changed
    assert set(changed.carried) >= {*ROLES, "missing here"}
    three = changed.electorate
    assert (three.epoch, three.current.n, three.current.q) == (3, 3, 2)
    five.network.kill("n1")
    held = five.do(Purpose.QUERY, ROLES[1], electorate=three)
    assert held.tenure is not None
    assert (held.tenure.term, held.tenure.holder) == (1_000_003, "n1")


def test_old_voters_that_come_back_are_told_apart_by_both_sides(five: Cluster) -> None:
    done = room.carry_out(five.path, "n1")
    alone = done.after.electorate
    head = (b"attempt1", POLITY, 1, ROLES[0])
    for question in (m.Read(*head), m.Prepare(*head, Ballot(99, b"proposer"))):
        five.network.ask(question, again=False)
    refusals = []
    while heard := five.network.listen(1.0):
        if heard.node == "n1":
            refusals.append(heard.reply)
    assert [(r.reason, r.polity) for r in refusals if isinstance(r, m.Refusal)] == [
        (OTHER_POLITY, alone.polity),
        (OTHER_POLITY, alone.polity),
    ]
    five.network.kill("n4", "n5")
    five.network.down.add("n3")
    with pytest.raises(TwoPolities) as caught:
        five.do(Purpose.ELECT, ROLES[0], "n2")
    assert {POLITY.hex(), alone.polity.hex()} <= set(str(caught.value).replace(",", "").split())
    # Told of the old polity's next record as chosen, the rescued voter stays where it is.
    five.network.enter(five.old.joint_with(five.old.current), "n2")
    data = wire.encode_record(five.old.joint_with(five.old.current))
    page = m.Offer(b"attempt2", wire.digest(data), 0, len(wire.pages(data)), wire.pages(data)[0], True)
    five.network.ask(page, again=False)
    assert five.ledger.me()._replace(serial=0) == done.after.me._replace(serial=0)


def test_a_ledger_that_is_no_voters_is_not_the_one_to_rescue(five: Cluster) -> None:
    others = [e for e in five.old.voters if e.node != "n1"]
    without = five.old._replace(epoch=3, rolls=(Roll(tuple(sorted(others)), five.old.current.rule),))
    five.network.enter(without, "n1")
    before = rows(five.path)
    with pytest.raises(Unfit, match="n1 is not one of the voters"):
        room.carry_out(five.path, "n1")
    assert rows(five.path) == before


def test_should_the_lost_come_back_as_a_majority_storage_fenced_by_terms_obeys_the_rescued_alone(
    five: Cluster,
) -> None:
    five.network.kill("n2", "n3", "n4", "n5")
    alone = room.carry_out(five.path, "n1").after.electorate
    assert five.do(Purpose.RECALL, ROLES[1], electorate=alone).verdict is Verdict.VACANT
    ours = five.do(Purpose.ELECT, ROLES[1], electorate=alone).tenure
    # They are a quorum of the old polity, in a part of the network of their own.
    five.network.down = {"n1"}
    five.network.status = {"n1": "failed"}
    assert five.do(Purpose.RECALL, ROLES[1], "n2").verdict is Verdict.RECALLED
    theirs = five.do(Purpose.ELECT, ROLES[1], "n4").tenure
    assert ours is not None
    assert theirs is not None
    assert (ours.holder, theirs.holder) == ("n1", "n4"), "nobody can prevent that"
    assert ours.term > theirs.term, "but storage that saw the higher term refuses the lower one"


def test_a_rescue_is_undone_by_putting_the_kept_ledger_back(five: Cluster) -> None:
    done = room.carry_out(five.path, "n1")
    five.ledger.close()
    os.replace(done.kept, five.path)
    again = Ledger.open(five.path, "n1", create=False)
    assert again is not None
    five.ledger = again
    five.network.voters["n1"] = again  # type: ignore[assignment]
    five.network.kill("n4", "n5")
    lost = five.do(Purpose.ELECT, ROLES[0], "n2")
    assert (lost.verdict, lost.population) == (Verdict.LOST, 5)
    assert room.reports_on(five.path, again.me().polity) == []


def test_the_old_ledger_is_kept_whole_and_a_record_tells_who_did_what(five: Cluster) -> None:
    before, me = rows(five.path), five.ledger.me()
    done = room.carry_out(five.path, "n1", also=["missing here"])
    assert rows(done.kept) == before
    assert rows(five.path) != before
    assert sorted(path.name for path in five.state.iterdir() if not path.name.endswith(("-wal", "-shm"))) == [
        "polity@n1.ledger",
        Path(done.kept).name,
        Path(done.record).name,
    ]
    kept = Ledger.open(done.kept, "n1", create=False)
    assert kept is not None
    with closing(kept):
        assert kept.me() == me
        assert kept.check() == []
    new = five.ledger.me()
    assert new.voter != me.voter
    assert five.ledger.record(me.digest) is None
    report = json.loads(Path(done.record).read_text())
    assert (report["old_polity"], report["old_voter"]) == (me.polity.hex(), me.voter.hex())
    assert (report["polity"], report["voter"], report["epoch"]) == (new.polity.hex(), new.voter.hex(), 1)
    assert [row["node"] for row in report["old_voters"]] == ["n1", "n2", "n3", "n4", "n5"]
    assert all(report[key] for key in ("when", "user", "host", "what", "kept"))
    assert {row["role"]: (row["old_term"], row["term"], row["known"]) for row in report["roles"]} == {
        ROLES[0]: (1, 1_000_001, "confirmed"),
        ROLES[1]: (2, 1_000_002, "confirmed"),
        ROLES[2]: (1, 1_000_001, "accepted"),
        ROLES[3]: (0, 1_000_000, "promised"),
        "missing here": (0, 1_000_000, "promised"),
    }
    assert [path for path, _ in room.reports_on(five.path, new.polity)] == [done.record]
    assert room.reports_on(five.path, me.polity) == []


def test_a_rescue_that_cannot_leave_its_record_changes_nothing(
    five: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = rows(five.path)

    def full(path: str, report: object) -> None:
        raise Unfit(f"no space for {path}", hint="free some")

    monkeypatch.setattr(room, "_write", full)
    with pytest.raises(Unfit, match="no space"):
        room.carry_out(five.path, "n1")
    assert rows(five.path) == before
    assert not [path for path in five.state.iterdir() if "rescue" in path.name]


def test_a_rescue_that_is_killed_before_its_end_leaves_the_ledger_as_it_was(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    cluster.history()
    cluster.ledger.close()
    before = rows(cluster.path)

    def work(pipe: Connection) -> None:
        def halt(path: str, report: object) -> None:
            pipe.send("all is written")
            pipe.recv()

        room._write = halt
        room.carry_out(cluster.path, "n1")

    with Child(work) as child:
        assert child.hear() == "all is written"
        child.kill()
    assert rows(cluster.path) == before
    assert room.show(cluster.path, "n1").electorate == cluster.old
    room.carry_out(cluster.path, "n1")
    assert rows(cluster.path) != before


def test_what_cannot_be_rescued_is_refused(tmp_path: Path) -> None:
    path = ledger_path(str(tmp_path), "polity", "n1")
    with pytest.raises(Unfit, match="n1 has no ledger"):
        room.carry_out(path, "n1")
    made = Ledger.open(path, "n1")
    assert made is not None
    made.close()
    with pytest.raises(Unfit, match="knows of no polity"):
        room.carry_out(path, "n1")
    with pytest.raises(LedgerError, match="belongs to the node 'n1'"):
        room.carry_out(path, "n2")


def test_a_voter_that_is_alone_already_needs_no_rescue(five: Cluster) -> None:
    room.carry_out(five.path, "n1")
    before = rows(five.path)
    with pytest.raises(Unfit, match="only voter already"):
        room.carry_out(five.path, "n1")
    assert rows(five.path) == before


def test_roles_named_besides_must_be_roles_and_those_known_stay_as_they_are_known(five: Cluster) -> None:
    with pytest.raises(BadInput):
        room.carry_out(five.path, "n1", also=["a\nb"])
    done = room.carry_out(five.path, "n1", also=[ROLES[0]])
    assert {row.role: row.holder for row in done.after.roles}[ROLES[0]] == "n3"


def test_of_several_ledgers_one_must_be_named(tmp_path: Path) -> None:
    with pytest.raises(Unfit, match="no ledger of the namespace polity"):
        room.find_ledger(str(tmp_path / "none"), "polity", None)
    long = "n" * 100 + "é" * 14
    for namespace, node in (("polity", long), ("polity-2", "n1")):
        made = Ledger.open(ledger_path(str(tmp_path), namespace, node), node)
        assert made is not None
        made.close()
    assert room.find_ledger(str(tmp_path), "polity", None) == (
        long,
        ledger_path(str(tmp_path), "polity", long),
    )
    made = Ledger.open(ledger_path(str(tmp_path), "polity", "n2"), "n2")
    assert made is not None
    made.close()
    with pytest.raises(BadInput, match="several nodes") as caught:
        room.find_ledger(str(tmp_path), "polity", None)
    assert "--node" in caught.value.hint
    assert room.find_ledger(str(tmp_path), "polity", "n2")[0] == "n2"


# As a command


@pytest.fixture
def polity(five: Cluster) -> Callable[..., subprocess.CompletedProcess[str]]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("SERF_", "POLITY_"))}
    env = clean | {"POLITY_CONFIG": os.devnull, "POLITY_STATE_DIR": str(five.state)}

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "polity_cli", "voters", "rescue", *words]
        return subprocess.run(argv, env=env, capture_output=True, text=True, timeout=60, check=False)

    return run


def answer(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    said = json.loads(done.stdout)
    assert shapes.mismatches(said) == []
    assert isinstance(said, dict)
    return said


SURE = "--i-know-that-decisions-may-be-lost"


def test_nothing_is_done_without_the_flag_and_it_is_said_what_may_be_lost(
    five: Cluster, polity: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    before = rows(five.path)
    for words in ((), ("--show", SURE), ("--jump", "1", SURE)):
        done = polity(*words, "--json")
        assert done.returncode == 2, done
        assert answer(done)["outcome"] == "error"
        assert rows(five.path) == before
    said = polity()
    assert "n2, n3, n4, n5" in said.stderr
    assert "would be lost" in said.stderr
    assert SURE in said.stderr


def test_showing_tells_all_and_changes_nothing(
    five: Cluster, polity: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    before = rows(five.path)
    said = answer(polity("--show", "--json"))
    assert (said["outcome"], said["epoch"], said["quorum"]) == ("shown", 1, 3)
    assert {row["role"]: (row["holder"], row["term"], row["known"]) for row in said["roles"]} == {
        ROLES[0]: ("n3", 1, "confirmed"),
        ROLES[1]: (None, 2, "confirmed"),
        ROLES[2]: ("n4", 1, "accepted"),
        ROLES[3]: (None, 0, "promised"),
    }
    text = polity("--show").stdout
    assert all(role in text for role in ROLES)
    assert rows(five.path) == before


def test_the_command_rescues_once(
    five: Cluster, polity: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    said = answer(polity(SURE, "--json", "--jump", "9"))
    assert (said["outcome"], said["population"], said["quorum"]) == ("rescued", 1, 1)
    assert said["old_polity"] == POLITY.hex()
    assert {row["role"]: (row["old_term"], row["term"]) for row in said["roles"]} == {
        ROLES[0]: (1, 11),
        ROLES[1]: (2, 12),
        ROLES[2]: (1, 11),
        ROLES[3]: (0, 10),
    }
    assert five.ledger.me().polity.hex() == said["polity"]
    assert polity(SURE).returncode == 8
