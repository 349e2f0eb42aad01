"""Roles looked after by this node as its tables [roles.NAME] say: when to act is in `core/succession.py`.

The local agent is asked four times a second how the holders' nodes are, by their names alone. Its own events
would come later: it gathers member events for a second or more before it hands them out. Everything else is
in this node's own ledger; what that may have missed a quorum is asked for from time to time.

One operation at a time, and a look before each: what was seen before it is old by then. What was seen is kept
in memory only. Who begins anew waits anew, which is safe.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from time import monotonic

from polity_cli.core import succession as rules
from polity_cli.core.messages import NO_POLITY
from polity_cli.core.operation import Purpose, Verdict
from polity_cli.core.succession import Act, Sight, State, Vigil
from polity_cli.edges import wire
from polity_cli.edges.fitness import Fitness
from polity_cli.edges.runs import claim_succession
from polity_cli.edges.serf_rpc import SerfClient
from polity_cli.errors import NoQuorum, NotFounded, PolityError, SerfError
from polity_cli.outcomes import error_of
from polity_cli.session import Session, node_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from polity_cli.core.electorate import Electorate
    from polity_cli.core.operation import Outcome
    from polity_cli.core.tenure import Tenure
    from polity_cli.edges.runs import Claimed
    from polity_cli.settings import Settings

_LOOK_S = 0.25
_CHECK_LOOK_S = 0.05
_OPERATION_S = 5.0
_AGAIN_S = 2.0
"""After a command that said no, a question without an answer, an agent that is away."""
_ASK_EVERY_S = 20.0
_FIRST_ASK_S = 1.5
_ASK_S = 2.0
_LEAST_ASK_S = 2.0
"""For each role: a hundred roles must not make a flood of questions."""
_ASKS = 2


class Heir:
    """Looks after the roles of one node. `wait` waits for so many seconds and is True if it is to stop."""

    def __init__(
        self, settings: Settings, *, wait: Callable[[float], bool], log: Callable[[str], None]
    ) -> None:
        self._settings = settings
        self._roles = {s.role: s for s in settings.roles if s.candidate or s.recall}
        self._wait = wait
        self._log = log
        self._polity = NO_POLITY
        self._vigils: dict[str, Vigil] = {}
        self._told: dict[str, Tenure] = {}
        """What a quorum has said to this process."""
        self._checks: dict[str, Fitness] = {}
        self._unfit: dict[str, str] = {}
        self._ask_at: dict[str, float] = {}
        self._unanswered: dict[str, int] = {}
        self._ask_every_s = max(settings.upkeep.tend_every_s or _ASK_EVERY_S, _LEAST_ASK_S * len(self._roles))
        self._steady_since_s = monotonic()
        self._failures = 0
        self._is_once = False

    def run(self) -> None:
        """Until told to stop."""
        claimed: Claimed | None = None
        try:
            while self._roles and not self._wait(0.0):
                try:
                    with self._connected() as serf:
                        claimed = claimed or self._claim(serf)
                        while claimed is not None and not self._wait(0.0):
                            self._attend(serf)
                            self._failures = 0
                except (PolityError, OSError) as error:
                    self._failed(error)
                self._wait(_AGAIN_S)
        finally:
            self._end(claimed)

    def once(self) -> bool:
        """Until nothing is left to do; False if somebody else on this node sees to it. Raises PolityError."""
        self._is_once = True
        claimed: Claimed | None = None
        try:
            while self._roles and not self._wait(0.0):
                with self._connected() as serf:
                    claimed = claimed or self._claim(serf)
                    if claimed is None:
                        return False
                    if self._attend(serf):
                        break
        finally:
            self._end(claimed)
        return True

    def _connected(self) -> SerfClient:
        return SerfClient.connect(self._settings.rpc_addr, auth_key=self._settings.rpc_auth)

    def _session(self, serf: SerfClient) -> Session:
        session = Session(
            serf,
            namespace=self._settings.namespace,
            state_dir=self._settings.state_dir,
            should_stop=lambda: self._wait(0.0),
        )
        # A role is taken over in its own polity, whoever else has come into the cluster.
        session.conductor.passes_over_others = True
        return session

    def _claim(self, serf: SerfClient) -> Claimed | None:
        return claim_succession(self._settings.state_dir, self._settings.namespace, node_name(serf))

    def _attend(self, serf: SerfClient) -> bool:
        """Look and act for a while, with one session: whatever becomes of the ledger meanwhile.

        True if nothing is left to do, for whoever does it once.
        """
        with self._session(serf) as session:
            # The voter here makes its ledger when it is first asked.
            until_s = monotonic() + (_ASK_EVERY_S if session.ledger is not None else _AGAIN_S)
            try:
                while not self._wait(0.0):
                    try:
                        pause_s = self._turn(serf, session)
                    except NotFounded:
                        if self._is_once:
                            raise
                        pause_s = _AGAIN_S
                    if self._is_once and self._is_quiet():
                        return True
                    if monotonic() >= until_s:
                        break
                    self._wait(pause_s)
            finally:
                session.remember_later()()
        return False

    def _turn(self, serf: SerfClient, session: Session) -> float:
        """One look, and at most one operation; returns the seconds until the next look."""
        self._look(serf, session)
        now_s = monotonic()
        for role in self._roles.keys() - self._ask_at.keys():
            self._ask_at[role] = self._first_ask_s(role)
        asked = next((role for role in self._roles if now_s >= self._ask_at[role]), None)
        restless = {role: vigil for role, vigil in self._vigils.items() if not vigil.is_quiet}
        dues: dict[str, tuple[Act, float]] = {}
        if restless:
            alive = self._alive(session)
            for role, vigil in restless.items():
                wish = self._roles[role]
                turn_s = rules.turn_s(session.node, alive, role, wish.priority)
                found = rules.due(vigil, wish, turn_s=turn_s, steady_since_s=self._steady_since_s)
                if found is not None:
                    dues[role] = found
        for role in self._checks.keys() - {role for role, (_, at_s) in dues.items() if at_s <= now_s}:
            self._checks.pop(role).kill()
        for role, (act, at_s) in sorted(dues.items(), key=lambda item: item[1][1]):
            if now_s >= at_s and self._is_fit(role, session.node):
                self._act(session, role, act)
                return 0.0
        if asked is not None:
            self._ask(session, asked)
            return 0.0
        if self._checks:
            return _CHECK_LOOK_S
        return max(0.0, min([_LOOK_S, *(at_s - now_s for _, at_s in dues.values() if at_s > now_s)]))

    def _look(self, serf: SerfClient, session: Session) -> None:
        sights: dict[str, tuple[Tenure, object]] = {}
        for role in self._roles:
            known, register = [], None
            if session.ledger is not None:
                me, register = session.ledger.view(role)
                if me.polity != self._polity:
                    # Terms of another polity are no news of this one.
                    self._polity = me.polity
                    for seen in (self._told, self._vigils, self._ask_at):
                        seen.clear()
                if me.polity != NO_POLITY and register.confirmed.term:
                    known.append(register.confirmed)
            if role in self._told:
                known.append(self._told[role])
            if known:
                sights[role] = max(known, key=lambda tenure: tenure.term), register
        holders = {tenure.holder for tenure, _ in sights.values() if tenure.holder}
        names = "|".join(re.escape(name) for name in sorted(holders))
        members = serf.members_filtered(name=f"({names})") if names else ()
        status = {member.name: member.status for member in members}
        now_s = monotonic()
        for role, (tenure, mark) in sights.items():
            before = self._vigils.get(role)
            sight = Sight(tenure, status.get(tenure.holder or ""), mark)
            self._vigils[role] = vigil = rules.look(before, sight, session.node, now_s)
            self._tell(role, before, vigil, sight)

    def _tell(self, role: str, before: Vigil | None, vigil: Vigil, sight: Sight) -> None:
        away = (State.ABSENT, State.UNHEARD)
        was_away = before is not None and before.state in away and before.tenure == vigil.tenure
        wish = self._roles[role]
        who = f"{vigil.tenure.holder} holds it (term {vigil.tenure.term})"
        if vigil.state in away and not was_away and wish.recall:
            word = sight.status or "no member"
            self._log(f"{role}: {who} and is {word} in Serf; to be recalled in {wish.takeover_delay:g} s")
        elif was_away and vigil.state is State.HELD and wish.recall:
            self._log(f"{role}: {who} and is back; nothing is done")

    def _alive(self, session: Session) -> frozenset[str]:
        """The nodes that Serf shows alive; notes when they have no quorum among them."""
        alive = frozenset(node.name for node in session.members() if node.status == "alive")
        electorate = _record(session)
        if electorate is not None:
            voters = {e.voter for e in electorate.voters if e.node in alive}
            if not electorate.is_quorum(voters):
                self._steady_since_s = monotonic()
        return alive

    def _is_fit(self, role: str, node: str) -> bool:
        """Whether `only_if` allows it; False also while that still runs."""
        wish = self._roles[role]
        if not wish.only_if:
            return True
        check = self._checks.get(role)
        if check is None:
            check = self._checks[role] = Fitness(wish, node)
        verdict = check.verdict()
        if verdict is None:
            return False
        del self._checks[role]
        if verdict:
            if self._unfit.get(role) != verdict:
                self._log(f"{role}: this node does not stand for it: {verdict}")
            self._vigils[role] = self._vigils[role]._replace(rest_until_s=monotonic() + _AGAIN_S)
        elif role in self._unfit:
            self._log(f"{role}: this node may stand for it again")
        self._unfit[role] = verdict
        if not verdict:
            del self._unfit[role]
        return not verdict

    def _act(self, session: Session, role: str, act: Act) -> None:
        wish, vigil = self._roles[role], self._vigils[role]
        tenure = vigil.tenure
        # If the role goes on by this or without it, that is forgotten with the rest of the vigil.
        self._vigils[role] = rules.rested(vigil, monotonic() + _OPERATION_S)
        try:
            if act is Act.RECALL:
                outcome = session.recall(role, holder=tenure.holder, term=tenure.term, timeout_s=_OPERATION_S)
                self._learn(session, Purpose.RECALL, role, outcome)
                if outcome.verdict is not Verdict.RECALLED:
                    return  # somebody was faster
                self._log(f"{role}: recalled from {tenure.holder}, which is gone (term {tenure.term})")
                if not wish.candidate:
                    return
            outcome = session.elect(role, timeout_s=_OPERATION_S)
            self._learn(session, Purpose.ELECT, role, outcome)
            if outcome.verdict in (Verdict.WON, Verdict.HELD):
                assert outcome.tenure is not None
                self._log(f"{role}: {session.node} holds it (term {outcome.tenure.term})")
        except PolityError as error:
            self._vigils[role] = rules.rested(vigil, monotonic())
            times = vigil.failures + 1
            if times & (times - 1) == 0:
                self._log(f"{role}: not taken over ({times} times running): {error}")

    def _ask(self, session: Session, role: str) -> None:
        """Ask a quorum, which also makes known to the voter here what it has missed. Raises NotFounded.

        Voters that do not answer may have too much to do, of which this must not be a part.
        """
        failures = self._unanswered.get(role, 0)
        self._unanswered[role] = failures + 1
        pause_s = min(self._ask_every_s, _AGAIN_S * 2.0 ** min(failures, 10))
        self._ask_at[role] = monotonic() + pause_s * _about_one()
        told = None
        with suppress(NoQuorum, SerfError):
            told = session.who(role, timeout_s=_ASK_S).tenure
        if told is not None:
            self._unanswered[role] = 0
            self._told[role] = told
            self._ask_at[role] = monotonic() + self._ask_every_s * _about_one()

    def _first_ask_s(self, role: str) -> float:
        """When to ask about a role first: nodes that start together must not ask together."""
        spread_s = self._ask_every_s if role in self._vigils and not self._is_once else _FIRST_ASK_S
        return monotonic() + spread_s * (_about_one() - 0.5)

    def _learn(self, session: Session, purpose: Purpose, role: str, outcome: Outcome) -> None:
        """Remember what is decided, perhaps since; raises the error of what is not."""
        if outcome.tenure is None:
            error = error_of((purpose, role), outcome, session.electorate())
            assert error is not None
            raise error
        self._told[role] = outcome.tenure

    def _is_quiet(self) -> bool:
        """True if no role is to be recalled or filled by this node, as far as it knows.

        Its own voter may have missed something, so a quorum has to be asked, but not for ever: what this node
        cannot learn is for those who can.
        """
        return all(map(self._is_settled, self._roles))

    def _is_settled(self, role: str) -> bool:
        vigil, told = self._vigils.get(role), self._told.get(role)
        if told is None and self._unanswered.get(role, 0) < _ASKS:
            return False
        if vigil is None or (told is not None and vigil.tenure.term < told.term):
            return told is None  # else it has not looked since it was told
        return rules.due(vigil, self._roles[role], turn_s=0.0, steady_since_s=0.0) is None

    def _failed(self, error: PolityError | OSError) -> None:
        # What Serf shows when it is back may be little at first.
        self._steady_since_s = monotonic() + _AGAIN_S
        self._failures += 1
        if self._failures & (self._failures - 1) == 0:
            self._log(f"roles are not looked after ({self._failures} times running): {error}")

    def _end(self, claimed: Claimed | None) -> None:
        for check in self._checks.values():
            check.kill()
        self._checks.clear()
        if claimed is not None:
            claimed.close()


def _about_one() -> float:
    """Between a half and one and a half, by chance."""
    return 0.5 + int.from_bytes(os.urandom(2)) / 65536


def _record(session: Session) -> Electorate | None:
    """The electorate as this node's own ledger has entered it."""
    if session.ledger is None:
        return None
    data = session.ledger.record(session.ledger.me().digest)
    return wire.decode_record(data) if data else None
