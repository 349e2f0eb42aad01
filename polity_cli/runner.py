"""`polity run`: a command that runs while this node holds a role, and not longer.

    election ──won, held──► the command runs ──ended──► the role is given back
       └──lost, no quorum, unknown──► nothing ran            (unless it is to be kept)

While the command runs, a second thread asks a quorum every `check_s` seconds who holds the role. An answer
confirms the role from the instant at which it was asked. Two things end the command, with all of its group:

- the role is another's, or vacant, or in another term: at once;
- no quorum has confirmed it for `grace_s`: then nobody here can know.

TERM first, KILL `kill_grace_s` later, so that nothing of it runs `grace_s + kill_grace_s` after the last
confirmation. Who takes roles over from nodes that seem dead has to wait longer than that. The deadline is
kept by the leash (`leash.py`), which outlives this process if it must.

A node runs one command per role at a time: whoever runs has a lock, and in the file it is on stands what is
held (`edges/runs.py`). Where runner and leash were both killed, that is how others learn of it and give it
back.
"""

from __future__ import annotations

import errno
import json
import os
import selectors
import signal
import subprocess
import sys
import threading
from contextlib import closing, contextmanager, suppress
from time import monotonic

from polity_cli.core.operation import Purpose, Verdict
from polity_cli.core.record import Record
from polity_cli.edges.ledger import Ledger, ledger_path
from polity_cli.edges.runs import Claimed, orphans
from polity_cli.edges.serf_rpc import SerfClient
from polity_cli.errors import BadInput, NoQuorum, PolityError
from polity_cli.leash import boottime_s
from polity_cli.outcomes import error_of
from polity_cli.session import Session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from polity_cli.core.succession import Succession
    from polity_cli.core.tenure import Tenure
    from polity_cli.settings import Settings

_GIVEN_BACK = (Verdict.RECALLED, Verdict.VACANT, Verdict.GUARD)
_UNSTARTED = {errno.ENOENT: 127, errno.EAGAIN: 125, errno.ENOMEM: 125}
_PEEK_S = 0.5
_LOOK_S = 0.5
_LEASH_S = 1.0
"""How much later than it should a leash may have ended the command."""
_NEWS = b"\0"
"""Beside the numbers of signals in the pipe that wakes the runner."""
_LONGEST_ASK_S = 5.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)


class Bounds(Record):
    """How long, in seconds: between two confirmations, without one, and from TERM to KILL."""

    check_s: float = 5.0
    grace_s: float = 30.0
    kill_grace_s: float = 10.0

    def check(self, succession: Succession | None = None) -> None:
        """Raise BadInput if a command would be ended though all is well, or could outlive its role.

        `succession` is what this node does about the role.
        """
        if self.grace_s < 2 * self.check_s:
            raise BadInput(
                f"a grace of {self.grace_s:g} s leaves no room for a confirmation every {self.check_s:g} s",
                hint="give --grace at least twice --check",
            )
        longest_s = self.grace_s + self.kill_grace_s
        if succession is not None and longest_s >= succession.takeover_delay:
            raise BadInput(
                f"--grace and --kill-grace are {longest_s:g} s together, and takeover_delay of "
                f"[roles.{succession.role}] is {succession.takeover_delay:g} s: the command could still run "
                "when the role is taken over",
                hint=f"set takeover_delay above {longest_s:g} s on all nodes, or give a shorter --grace or "
                "--kill-grace",
            )


class Ended(Record):
    """`code` is the command's exit code, or what stands for it; `lost` says why it was ended, if it was."""

    code: int
    lost: str = ""


def give_back(session: Session, settings: Settings, node: str, log: Callable[[str], None]) -> None:
    """Resign what runs that were killed on this node have left held. Raises PolityError."""
    for role, term, claimed in orphans(settings.state_dir, settings.namespace, node):
        with _in_one_polity(session):
            outcome = session.recall(role, holder=node, term=term or None, timeout_s=_LONGEST_ASK_S)
        if outcome.verdict in _GIVEN_BACK:
            claimed.clear()
        if outcome.verdict is Verdict.RECALLED:
            log(f"gave {role} back: what ran it on {node} was killed")


@contextmanager
def _in_one_polity(session: Session) -> Iterator[None]:
    """Ask only this node's own polity: what runs must not end because a node of another one has joined."""
    session.conductor.passes_over_others = True
    try:
        yield
    finally:
        session.conductor.passes_over_others = False


class _Confirmer(threading.Thread):
    """Asks a quorum who holds the role, again and again; `news` are (asked at, tenure or error)."""

    def __init__(self, run: Run, wake: int) -> None:
        super().__init__(name="confirmer", daemon=True)
        self._run = run
        self._wake = wake
        self._stopped = threading.Event()
        self.news: list[tuple[float, Tenure | PolityError]] = []

    def stop(self) -> None:
        self._stopped.set()

    def run(self) -> None:
        while not self._wait():
            asked_s = boottime_s()
            self.news.append((asked_s, self._ask()))
            with suppress(OSError):
                os.write(self._wake, _NEWS)

    def _ask(self) -> Tenure | PolityError:
        run = self._run
        limit_s = min(_LONGEST_ASK_S, run.bounds.grace_s / 2)
        try:
            with run.session(limit_s) as session:
                outcome = session.who(run.role, timeout_s=limit_s)
                return outcome.tenure or NoQuorum(f"no answer from {', '.join(outcome.silent) or 'a quorum'}")
        except PolityError as error:
            return error

    def _wait(self) -> bool:
        """Until the next turn, or until this node's own voter has heard of another term; True at the end."""
        until_s = monotonic() + self._run.bounds.check_s
        while (left_s := until_s - monotonic()) > 0:
            if self._stopped.wait(min(_PEEK_S, left_s)):
                return True
            with suppress(PolityError):
                if self._run.newest_term_here() > self._run.tenure.term:
                    return False
        return self._stopped.is_set()


class Run(Record):
    """A command, and the tenure it runs in."""

    settings: Settings
    node: str
    role: str
    tenure: Tenure
    argv: tuple[str, ...]
    bounds: Bounds
    claimed: Claimed
    where: tuple[str, ...]
    """The options that say where things are, as they were given."""
    confirmed_s: float
    """When the tenure was known to be this one, by `boottime_s`."""
    say: Callable[[str], None]

    @contextmanager
    def session(self, limit_s: float) -> Iterator[Session]:
        """A new one each time: whatever became of the agent since."""
        settings = self.settings
        with (
            SerfClient.connect(
                settings.rpc_addr,
                auth_key=settings.rpc_auth,
                connect_timeout_s=limit_s,
                timeout_s=limit_s,
            ) as serf,
            Session(serf, namespace=settings.namespace, state_dir=settings.state_dir) as session,
            _in_one_polity(session),
        ):
            yield session

    def newest_term_here(self) -> int:
        """The newest term that this node's own voter has heard of: it may be decided or not."""
        path = ledger_path(self.settings.state_dir, self.settings.namespace, self.node)
        ledger = Ledger.open(path, self.node, create=False) if os.path.exists(path) else None
        if ledger is None:
            return 0
        with closing(ledger):
            register = ledger.register(self.role)
            return max(register.confirmed.term, register.tenure.term)

    def give_back(self, *, timeout_s: float) -> bool:
        """Resign; False if it was not held in this term any more. Raises PolityError, and then it stands in
        the file what is to be given back: agents on this node go on trying."""
        with self.session(min(timeout_s, _LONGEST_ASK_S)) as session:
            outcome = session.recall(self.role, holder=self.node, term=self.tenure.term, timeout_s=timeout_s)
            error = error_of((Purpose.RECALL, self.role), outcome, session.electorate())
        if outcome.verdict not in _GIVEN_BACK:
            assert error is not None
            raise error
        self.claimed.clear()
        return outcome.verdict is Verdict.RECALLED

    def environment(self) -> dict[str, str]:
        """What the command is told; it beats whatever was inherited."""
        return {
            **os.environ,
            "POLITY_ROLE": self.role,
            "POLITY_TERM": str(self.tenure.term),
            "POLITY_NODE": self.node,
            "POLITY_SLOT": self.tenure.slot,
        }

    def words_to_give_back(self) -> list[str]:
        """The command that gives the role back, for the leash."""
        limits = ["--term", str(self.tenure.term), "--timeout", "60", "--wait"]
        return ["-P", "-m", "polity_cli", "resign", *self.where, *limits, "--", self.role]


class Runner:
    """Runs the command once; `close` it when the role was given back, or is to be kept.

    Until then the leash gives it back should this process be killed. To be used in the main thread.
    """

    def __init__(self, work: Run) -> None:
        self._work = work
        self._until_s = work.confirmed_s + work.bounds.grace_s
        self._pid = 0
        self._ended: Ended | None = None
        self._lost = ""
        self._doubtful = False
        self._leash: subprocess.Popen[bytes] | None = None
        self._before: dict[signal.Signals, Any] = {}

    def run(self, *, is_unwanted: Callable[[], bool]) -> Ended | None:
        """Run until the command ends or the role is lost. Signals that come meanwhile are the command's.

        None if it `is_unwanted` by now: nothing was started then, and nothing will be.
        """
        work = self._work
        wake_r, wake_w = os.pipe()
        os.set_blocking(wake_w, False)
        orders_r, self._orders = os.pipe()
        news_r, news_w = os.pipe()
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.set_wakeup_fd(wake_w, warn_on_full_buffer=False)
        # What is ignored stays so, as nohup(1) wants it.
        heard = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
        self._before = {number: signal.signal(number, lambda *_: None) for number in heard}
        fds = (orders_r, news_w, work.claimed.fd)
        for fd in fds:
            os.set_inheritable(fd, True)
        try:
            # The descriptors that were handed to this process are the command's too.
            self._leash = subprocess.Popen(
                [
                    sys.executable,
                    "-P",
                    "-m",
                    "polity_cli.leash",
                    ",".join(map(str, fds)),
                    str(work.bounds.kill_grace_s),
                    json.dumps(work.words_to_give_back()),
                    *work.argv,
                ],
                env=work.environment(),
                close_fds=False,
                process_group=0,
            )
        except OSError as error:  # no memory, no processes, or words beyond what a process can be given
            work.say(f"what watches over {work.argv[0]} cannot be started: {error.strerror}")
            return Ended(_UNSTARTED.get(error.errno or 0, 126))
        finally:
            for fd in (orders_r, news_w):
                os.close(fd)
            os.set_inheritable(work.claimed.fd, False)
        confirmer = _Confirmer(work, wake_w)
        try:
            if is_unwanted():
                return None
            self._order(f"until {self._until_s}")
            self._order("go")
            confirmer.start()
            with selectors.DefaultSelector() as selector:
                selector.register(news_r, selectors.EVENT_READ, lambda: self._hear_leash(news_r))
                selector.register(wake_r, selectors.EVENT_READ, lambda: self._wake_up(wake_r, confirmer))
                while self._ended is None:
                    for key, _ in selector.select(_LOOK_S):
                        key.data()
                    self._look_after_leash()
            return self._ended
        finally:
            confirmer.stop()
            signal.set_wakeup_fd(-1)

    def close(self) -> None:
        """All is over, the role given back or not: the leash has nothing to do any more, nor have signals."""
        self._order("done")
        os.close(self._orders)
        if self._leash is not None:
            self._leash.wait()
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _look_after_leash(self) -> None:
        """A leash that was stopped cannot end the command: then both are killed."""
        bounds = self._work.bounds
        if self._ended is None and boottime_s() >= self._until_s + bounds.kill_grace_s + _LEASH_S:
            self._lose(f"no quorum has confirmed it for {bounds.grace_s:g} s")
            assert self._leash is not None
            self._leash.kill()
            self._leash_is_gone()

    def _order(self, line: str) -> None:
        with suppress(BrokenPipeError):
            os.write(self._orders, line.encode() + b"\n")

    def _hear_leash(self, news: int) -> None:
        data = os.read(news, 4096)
        if not data:
            self._leash_is_gone()
            return
        for line in data.decode().splitlines():
            match line.split():
                case ["started", pid]:
                    self._pid = int(pid)
                case ["failed", number]:
                    code = _UNSTARTED.get(int(number), 126)
                    self._work.say(f"{self._work.argv[0]}: {os.strerror(int(number))}")
                    self._ended = Ended(code)
                case ["late"]:
                    self._lose("it was won too long ago to start the command now")
                    self._ended = Ended(0, self._lost)
                case ["stopping"]:
                    grace = self._work.bounds.grace_s
                    self._lose(f"no quorum has confirmed it for {grace:g} s")
                case ["ended", status]:
                    code = os.waitstatus_to_exitcode(int(status))
                    self._ended = Ended(128 - code if code < 0 else code, self._lost)

    def _leash_is_gone(self) -> None:
        if self._pid:
            with suppress(ProcessLookupError):
                os.killpg(self._pid, signal.SIGKILL)
        self._ended = Ended(128 + signal.SIGKILL, self._lost or "the process that watched over it was killed")

    def _wake_up(self, wake: int, confirmer: _Confirmer) -> None:
        for number in os.read(wake, 4096):
            if number != _NEWS[0]:
                self._order(f"signal {number}")
        while confirmer.news:
            self._take(*confirmer.news.pop(0))

    def _take(self, asked_s: float, told: Tenure | PolityError) -> None:
        work = self._work
        if isinstance(told, PolityError):
            left_s = self._until_s - boottime_s()
            if not self._doubtful and not self._lost:
                work.say(
                    f"nobody confirms that {work.node} still holds {work.role}: {told}. "
                    f"The command is ended in {max(0.0, left_s):.0f} s unless a quorum does"
                )
            self._doubtful = True
        elif (told.holder, told.term) == (work.node, work.tenure.term):
            self._until_s = asked_s + work.bounds.grace_s
            self._order(f"until {self._until_s}")
            if self._doubtful:
                work.say(f"a quorum confirms again that {work.node} holds {work.role}")
            self._doubtful = False
        else:
            who = f"{told.holder} holds it" if told.holder else "it is vacant"
            self._lose(f"{who} (term {told.term})")
            self._order("stop")

    def _lose(self, why: str) -> None:
        if not self._lost:
            self._lost = why
            self._work.say(
                f"{self._work.node} has lost {self._work.role} (term {self._work.tenure.term}): {why}. "
                "The command is ended"
            )
