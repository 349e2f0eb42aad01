"""A node that looks after its roles, in a world that is played by the minute: what it asks for, and when."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from polity_cli import succession as room
from polity_cli.core.messages import Register
from polity_cli.core.operation import Outcome, Verdict
from polity_cli.core.succession import SETTLE_S, VACANT_S, Succession
from polity_cli.core.tenure import VACANT, Tenure
from polity_cli.edges.network import Node
from polity_cli.edges.serf_rpc import SerfClient
from polity_cli.errors import NotFounded, PolityError, SerfUnreachable
from polity_cli.settings import Settings
from polity_cli.succession import Heir

SETTINGS = Settings("127.0.0.1:1", None, "", "polity", None)
POLITY = b"pol-ity1"
ELECTORATE = SimpleNamespace(
    voters=[SimpleNamespace(voter=name, node=name) for name in ("n1", "n2", "n3")],
    is_quorum=lambda voters: len(voters) >= 2,
)


class World:
    """Three nodes as n2 sees them. `script` is called at each instant and changes what is so."""

    def __init__(self, script: Callable[[World], None] = lambda world: None, tenure: Tenure = VACANT) -> None:
        self.now_s = 1000.0
        self.end_s = 1060.0
        self.script = script
        self.tenure = tenure
        self.heard: Tenure | None = None
        """What n2's own voter has heard of; as a rule, all."""
        self.stirs = 0
        self.status = {"n1": "alive", "n2": "alive", "n3": "alive"}
        self.has_quorum = True
        self.is_founded = True
        self.serf_is_away = False
        self.polity = POLITY
        self.done: list[tuple[str, float]] = []
        self.said: list[str] = []
        self.asked = 0
        self.ids = itertools.count()
        self.errors: list[PolityError] = []

    def at(self) -> float:
        return round(self.now_s - 1000.0, 3)

    def wait(self, seconds: float) -> bool:
        if 0.0 < seconds < 0.1:
            time.sleep(0.002)  # for commands, which are real
        self.now_s += seconds
        self.script(self)
        return self.now_s >= self.end_s

    def decide(self, holder: str | None) -> None:
        claim = next(self.ids).to_bytes(8, "big")
        if holder is None:
            self.tenure = self.tenure.emptied(claim)
        else:
            assert self.tenure.is_vacant, "somebody was elected over a holder"
            self.tenure = self.tenure.filled_by(holder, claim)

    # What n2's session is to the room

    node = "n2"

    def members(self) -> tuple[Node, ...]:
        return tuple(Node(name, status, True) for name, status in self.status.items())

    def members_filtered(self, *, name: str) -> tuple[SimpleNamespace, ...]:
        self._reach()
        names = name.strip("()").split("|")
        return tuple(SimpleNamespace(name=n, status=s) for n, s in self.status.items() if n in names)

    def who(self, role: str, *, timeout_s: float) -> Outcome:
        self.asked += 1
        return self._outcome(Verdict.ANSWER)

    def recall(self, role: str, *, holder: str | None, term: int | None, timeout_s: float) -> Outcome:
        if (failed := self._outcome(Verdict.RECALLED)).tenure is None:
            return failed
        if self.tenure.is_vacant:
            return self._outcome(Verdict.VACANT)
        if holder not in (None, self.tenure.holder) or term not in (None, self.tenure.term):
            return self._outcome(Verdict.GUARD)
        self.done.append((f"recall {holder} {term}", self.at()))
        self.decide(None)
        return self._outcome(Verdict.RECALLED)

    def elect(self, role: str, *, timeout_s: float) -> Outcome:
        if (failed := self._outcome(Verdict.WON)).tenure is None:
            return failed
        if not self.tenure.is_vacant:
            return self._outcome(Verdict.HELD if self.tenure.holder == "n2" else Verdict.LOST)
        self.done.append(("elect n2", self.at()))
        self.decide("n2")
        return self._outcome(Verdict.WON)

    def electorate(self) -> Any:
        return SimpleNamespace(current=SimpleNamespace(q=2))

    @property
    def ledger(self) -> Any:
        tenure = self.tenure if self.heard is None else self.heard
        register = Register(confirmed=tenure)
        mark = register._replace(promised=register.promised._replace(round=self.stirs))
        me = SimpleNamespace(polity=self.polity)
        return SimpleNamespace(view=lambda role: (me, mark))

    def _reach(self) -> None:
        if self.serf_is_away:
            raise SerfUnreachable("no Serf agent answers")
        if self.errors:
            raise self.errors.pop(0)

    def _outcome(self, verdict: Verdict) -> Outcome:
        self._reach()
        if not self.is_founded:
            raise NotFounded("nobody has founded a polity here")
        nobody: frozenset[bytes] = frozenset()
        if not self.has_quorum:
            self.wait(1.0)
            return Outcome(Verdict.NO_QUORUM, None, None, nobody, nobody, 2, 3, 2)
        return Outcome(verdict, self.tenure, None, nobody, nobody, 2, 3, 1)


class FakeSession:
    """What a session in this world gives."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.conductor = SimpleNamespace(passes_over_others=False)

    def __enter__(self) -> FakeSession:
        assert self.conductor.passes_over_others
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def remember_later(self) -> Callable[[], None]:
        return lambda: None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._world, name)


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., World]:
    """Has n2 look after the role `job` in a world until its end, or once."""

    def play(world: World, *, once: bool = False, role: str = "job", **wish: Any) -> World:
        settings = SETTINGS._replace(state_dir=str(tmp_path), roles=(Succession(role, **wish),))

        def connect(*_: object, **__: object) -> Any:
            world._reach()
            return nullcontext(world)

        monkeypatch.setattr(room, "monotonic", lambda: world.now_s)
        monkeypatch.setattr(room, "Session", lambda *_, **__: FakeSession(world))
        monkeypatch.setattr(SerfClient, "connect", connect)
        monkeypatch.setattr(room, "node_name", lambda serf: "n2")
        monkeypatch.setattr(room, "_record", lambda session: ELECTORATE)
        heir = Heir(settings, wait=world.wait, log=world.said.append)
        if once:
            heir.once()
        else:
            heir.run()
        return world

    return play


HELD = VACANT.filled_by("n1", b"claim---")


def dies(at_s: float, *more: tuple[float, str | None]) -> Callable[[World], None]:
    """n1 fails at that instant; then what else Serf says of it, and when."""

    def script(world: World) -> None:
        for when_s, status in ((at_s, "failed"), *more):
            if world.at() >= when_s:
                world.status["n1"] = status or ""
        if world.status["n1"] == "":
            del world.status["n1"]
            world.script = lambda world: None

    return script


def test_a_dead_holder_is_recalled_by_name_and_term_after_the_delay_and_followed_at_once(
    play: Callable[..., World],
) -> None:
    world = play(World(dies(20.0), HELD), takeover_delay=10.0)
    (what, recalled_s), (then, elected_s) = world.done
    assert (what, then) == ("recall n1 1", "elect n2")
    assert 30.0 <= recalled_s == elected_s < 31.5
    assert world.tenure.term == 3
    assert world.said == [
        "job: n1 holds it (term 1) and is failed in Serf; to be recalled in 10 s",
        "job: recalled from n1, which is gone (term 1)",
        "job: n2 holds it (term 3)",
    ]


def test_without_a_delay_it_takes_a_look_and_a_turn(play: Callable[..., World]) -> None:
    world = play(World(dies(20.0), HELD), takeover_delay=0)
    assert 20.0 <= world.done[0][1] <= 20.0 + 0.25 + 0.5 + 0.01


def test_who_comes_back_in_time_keeps_the_role(play: Callable[..., World]) -> None:
    world = play(World(dies(20.0, (29.0, "alive")), HELD), takeover_delay=10.0)
    assert (world.done, world.tenure) == ([], HELD)
    assert world.said[-1] == "job: n1 holds it (term 1) and is back; nothing is done"
    again = play(World(dies(20.0, (29.0, "alive"), (31.0, "left")), HELD), takeover_delay=10.0)
    assert 41.0 <= again.done[0][1] < 42.5


def test_a_term_that_is_not_true_any_more_is_not_recalled(play: Callable[..., World]) -> None:
    world = World(tenure=HELD)
    world.heard = HELD  # its own voter will miss two terms

    def script(world: World) -> None:
        dies(20.0, (30.0, "alive"))(world)
        if world.at() >= 15.0 and world.tenure == HELD:
            world.decide(None)
            world.decide("n3")
        if world.at() >= 40.0:
            world.status["n3"] = "failed"

    world.script = script
    assert [what for what, _ in play(world, takeover_delay=0).done] == ["recall n3 3", "elect n2"]
    assert 40.0 <= world.done[0][1] < 41.5, "nothing before, and then what a quorum has said"


def test_one_that_only_recalls_leaves_the_role_to_others(play: Callable[..., World]) -> None:
    world = play(World(dies(20.0), HELD), takeover_delay=0, candidate=False)
    assert [what for what, _ in world.done] == ["recall n1 1"]
    assert world.tenure.is_vacant


def test_one_that_only_stands_recalls_nobody_and_takes_what_is_vacant(play: Callable[..., World]) -> None:
    assert play(World(dies(20.0), HELD), takeover_delay=0, recall=False).done == []
    world = play(World(), recall=False)
    assert world.done[0][0] == "elect n2"
    assert VACANT_S <= world.done[0][1] < VACANT_S + 2.5


def test_a_person_who_recalls_to_elect_another_is_faster(play: Callable[..., World]) -> None:
    def script(world: World) -> None:
        if world.at() >= 20.0 and world.tenure == HELD:
            world.decide(None)
        if world.at() >= 21.5 and world.tenure.is_vacant:
            world.decide("n3")

    assert play(World(script, HELD)).done == []


def test_nobody_is_recalled_by_who_has_just_begun_to_look(play: Callable[..., World]) -> None:
    world = play(World(dies(0.0), HELD), takeover_delay=0)
    assert SETTLE_S <= world.done[0][1] < SETTLE_S + 1.5


def test_after_serf_was_away_it_looks_around_first(play: Callable[..., World]) -> None:
    def script(world: World) -> None:
        dies(30.5)(world)
        world.serf_is_away = 20.0 <= world.at() < 30.0

    world = play(World(script, HELD), takeover_delay=0)
    assert world.done[0][1] >= 30.0 + SETTLE_S
    assert [line for line in world.said if "not looked after" in line]


def test_without_a_quorum_alive_nobody_is_recalled_until_it_has_been_back(play: Callable[..., World]) -> None:
    def script(world: World) -> None:
        cut = 20.0 <= world.at() < 30.0
        world.status = {"n1": "failed" if cut else "alive", "n2": "alive", "n3": "failed" if cut else "alive"}
        # n3 is seen again before n1 is, and a quorum could be had by then.
        if 30.0 <= world.at() < 33.0:
            world.status["n1"] = "failed"

    world = play(World(script, HELD), takeover_delay=0)
    assert (world.done, world.tenure) == ([], HELD)


def test_what_comes_to_nothing_is_tried_more_rarely_and_said_more_rarely(play: Callable[..., World]) -> None:
    def script(world: World) -> None:
        dies(20.0)(world)
        world.has_quorum = world.at() < 20.0

    world = World(script, HELD)
    world.end_s = 1120.0
    play(world, takeover_delay=0)
    tries = [line for line in world.said if "not taken over" in line]
    assert world.done == []
    assert [line.split("(")[1].split()[0] for line in tries] == ["1", "2", "4", "8"]
    assert world.asked < 15


def test_somebody_who_is_at_it_is_not_disturbed(play: Callable[..., World]) -> None:
    def script(world: World) -> None:
        dies(20.0)(world)
        if world.at() >= 20.0 and not world.stirs:
            world.stirs = 1  # its voter has promised something to somebody
        if world.at() >= 20.9 and world.tenure == HELD:
            world.decide(None)
            world.decide("n3")

    assert play(World(script, HELD), takeover_delay=0).done == []


def test_nobody_founds_a_polity_by_looking_after_roles(play: Callable[..., World]) -> None:
    def unfounded() -> World:
        world = World()
        world.is_founded, world.polity = False, b""
        return world

    assert play(unfounded()).done == []
    with pytest.raises(NotFounded):
        play(unfounded(), once=True)


def test_another_polity_has_terms_of_its_own(play: Callable[..., World]) -> None:
    def script(world: World) -> None:
        if world.at() >= 20.0 and world.polity == POLITY:
            world.polity, world.tenure = b"pol-ity2", HELD._replace(holder="n3")
        if world.at() >= 30.0:
            world.status["n3"] = "failed"

    world = play(World(script, HELD._replace(term=9)), takeover_delay=0)
    assert [what for what, _ in world.done] == ["recall n3 1", "elect n2"]


def test_what_its_own_voter_has_missed_is_asked_for(play: Callable[..., World]) -> None:
    world = World(tenure=HELD)
    world.heard = VACANT  # it hears of nothing

    def script(world: World) -> None:
        if world.at() >= 5.0 and world.tenure == HELD:
            world.decide(None)

    world.script = script
    assert [what for what, _ in play(world).done] == ["elect n2"]


# The command `only_if`.


def test_who_is_not_fit_does_nothing_and_says_so_once(play: Callable[..., World], tmp_path: Path) -> None:
    world = play(World(dies(20.0), HELD), takeover_delay=0, only_if=("false",), only_if_timeout=60.0)
    assert world.done == []
    assert world.said[1:] == ["job: this node does not stand for it: only_if ended with 1"]
    fit = tmp_path / "fit"

    def script(world: World) -> None:
        dies(20.0)(world)
        if world.at() >= 40.0:
            fit.touch()

    world = play(
        World(script, HELD), takeover_delay=0, only_if=("test", "-e", str(fit)), only_if_timeout=60.0
    )
    assert [what for what, _ in world.done] == ["recall n1 1", "elect n2"]
    assert world.done[0][1] >= 40.0
    assert "job: this node may stand for it again" in world.said


def test_a_command_is_not_run_while_there_is_nothing_to_do(
    play: Callable[..., World], tmp_path: Path
) -> None:
    told = tmp_path / "told"
    play(World(tenure=HELD), only_if=("touch", str(told)))
    assert not told.exists()


# Once.


def test_once_ends_when_nothing_is_left_to_do(play: Callable[..., World]) -> None:
    held = play(World(tenure=HELD), once=True)
    assert (held.done, held.at() < 2.0) == ([], True)
    world = play(World(dies(0.0), HELD), once=True, takeover_delay=15.0)
    assert [what for what, _ in world.done] == ["recall n1 1", "elect n2"]
    assert 15.0 <= world.at() < 17.0
    back = play(World(dies(0.0, (10.0, "alive")), HELD), once=True, takeover_delay=15.0)
    assert (back.done, back.at() < 11.0) == ([], True)


def test_once_asks_a_quorum_once_and_not_for_ever(play: Callable[..., World]) -> None:
    assert play(World(tenure=HELD), once=True).asked == 1
    stale = World(dies(0.0, (0.0, "alive")), HELD._replace(holder="n3"))
    stale.heard = HELD._replace(holder="n2", term=0)
    stale.status["n3"] = "failed"
    play(stale, once=True, takeover_delay=0)
    assert [what for what, _ in stale.done] == ["recall n3 1", "elect n2"], "its own voter had missed it"
    world = World()
    world.has_quorum = False
    assert play(world, once=True).asked == 2
    assert (world.done, world.at() < 15.0) == ([], True)


def test_one_at_a_time_looks_after_the_roles_of_a_node(play: Callable[..., World], tmp_path: Path) -> None:
    from polity_cli.edges.runs import claim_succession

    first = claim_succession(str(tmp_path), "polity", "n2")
    assert first is not None
    assert play(World(), once=True).done == []
    waiting = World()
    waiting.end_s = 1005.0
    assert play(waiting).done == []
    first.close()
    assert play(World(), once=True).done != []
