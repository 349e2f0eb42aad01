"""Every command that is given, what it said and when: the history that the judge gets, and its summary."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from polity_cli.devcluster import wait_for
from polity_cli.devcluster.guard import alive, signal_group
from tests.judging.answers import operation
from tests.judging.electorates import Seen, judge_electorates, seen
from tests.judging.history import judge_roles
from tests.judging.operation import Operation, Undecided, Violation
from tests.netns.cluster import NetNode
from tests.serf.verbs import Said, in_json

LIMIT_S = 45.0
"""No command takes that long: its own time limit is 15 s at most here, and starting it a second or two."""


class Errand:
    """A command under way."""

    def __init__(
        self, record: Record, node: NetNode, args: tuple[str, ...], process: subprocess.Popen[str]
    ) -> None:
        self._record = record
        self._node = node
        self._args = args
        self._process = process
        self._started = time.monotonic()
        self._over = False
        self._interrupted = False

    def wait_halted(self) -> None:
        """Waits until it has stopped itself (see `puppet`); fails if it ends instead."""

        def halted() -> bool:
            found = os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if found is None:
                return False
            assert found.si_code == os.CLD_STOPPED, f"{self} did not halt"
            return True

        wait_for(halted, LIMIT_S, f"{self} to halt")

    def go_on(self) -> None:
        signal_group(self._process, signal.SIGCONT)

    def pause(self) -> None:
        signal_group(self._process, signal.SIGSTOP)

    def interrupt(self) -> None:
        """SIGINT, as by Ctrl-C."""
        self._interrupted = True
        signal_group(self._process, signal.SIGINT)

    def kill(self) -> None:
        signal_group(self._process, signal.SIGKILL)

    @property
    def running(self) -> bool:
        return alive(self._process)

    def end(self) -> Said:
        """Waits for its end: what it said. Raises subprocess.TimeoutExpired if it hangs."""
        out, err = self._process.communicate(timeout=LIMIT_S)
        return self._end(out, err)

    def close(self) -> None:
        """Kills it if nobody waited for its end."""
        if not self._over:
            self.kill()
            self._end(*self._process.communicate())

    def _end(self, out: str, err: str) -> Said:
        self._over = True
        code = self._process.returncode
        if self._interrupted and not out and "polity_cli" not in err:
            # Python itself was still starting and may end in any way: nothing was asked for, nothing is said.
            code = -signal.SIGINT
        data = json.loads(out) if out and code >= 0 else {}
        assert isinstance(data, dict)
        said = Said(self._node.name, self._args, code, data, err)
        self._record.add(said, self._started, time.monotonic())
        return said

    def __str__(self) -> str:
        return f"polity {' '.join(self._args)} on {self._node.name}"


class Record:
    """The history of one cluster or a part of it. Methods may be called from any thread."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.faults: Counter[str] = Counter()
        self.outcomes: Counter[str] = Counter()
        self.verdict = "not judged"
        self._lock = threading.Lock()
        self._operations: list[Operation] = []
        self._electorates: list[Seen] = []
        self._wrong: list[Violation] = []
        self._errands: list[Errand] = []
        self._started = time.monotonic()

    @contextlib.contextmanager
    def begin(self, node: NetNode, *args: str, halt: str = "") -> Iterator[Errand]:
        """A command and a role, such as ("elect", "leader"), begun; its end is recorded, killed or not.

        Or one about the electorate, such as ("voters", "add", "n4").
        """
        with node.popen(*in_json(args), halt=halt) as process:
            errand = Errand(self, node, args, process)
            with self._lock:
                self._errands.append(errand)
            try:
                yield errand
            finally:
                with self._lock:
                    self._errands.remove(errand)
                errand.close()

    def ask(self, node: NetNode, *args: str) -> Said:
        """A command and a role, to its end."""
        with self.begin(node, *args) as errand:
            return errand.end()

    def ask_all(self, orders: Sequence[tuple[NetNode, Sequence[str]]]) -> list[Said]:
        """Commands at the same time, in the order given."""
        with ThreadPoolExecutor(max(1, len(orders))) as pool:
            return list(pool.map(lambda order: self.ask(order[0], *order[1]), orders))

    def fault(self, words: str) -> None:
        """Something was broken on purpose."""
        with self._lock:
            self.faults[words.split()[0]] += 1

    def errands(self) -> list[Errand]:
        """Commands under way."""
        with self._lock:
            return list(self._errands)

    def add(self, said: Said, started: float, ended: float) -> None:
        with self._lock:
            if said.args[0] == "voters":
                self._add_electorate(said, started, ended)
                return
            name = f"{said.args[0]}{len(self._operations)}"
            try:
                told = operation(name, said.node, said.args, started, ended, said.code, said.data)
            except Violation as violation:
                violation.add_note(str(said))
                self._wrong.append(violation)
                return
            self._operations.append(told)
            word = "killed" if said.code < 0 else said.data.get("outcome", "killed")
            self.outcomes[f"failed with {said.code}" if word == "error" else word] += 1

    def _add_electorate(self, said: Said, started: float, ended: float) -> None:
        try:
            told = seen(" ".join(said.args), said.node, started, ended, said.code, said.data)
        except Violation as violation:
            violation.add_note(str(said))
            self._wrong.append(violation)
            return
        if told is not None:
            self._electorates.append(told)
            self.outcomes["electorate changed" if told.changed else "electorate told"] += 1

    @property
    def electorates(self) -> list[Seen]:
        """What was told of the electorate."""
        with self._lock:
            return list(self._electorates)

    @property
    def operations(self) -> list[Operation]:
        with self._lock:
            return list(self._operations)

    def judge(self) -> None:
        """Raises Violation or Undecided unless all that was said can be true. The summary then says so."""
        self.verdict = "REFUSED"
        with self._lock:
            wrong, history = list(self._wrong), list(self._operations)
        if wrong:
            raise wrong[0]
        try:
            judge_roles(history)
            judge_electorates(self.electorates)
        except (Violation, Undecided) as error:
            error.add_note("\n".join(map(str, history)))
            raise
        self.verdict = "linearizable"

    def summary(self) -> str:
        """One line: operations, faults, outcomes, verdict."""
        took_s = time.monotonic() - self._started
        roles = len({told.role for told in self.operations})
        parts = [f"{len(self.operations)} operations on {roles} role{'s' if roles != 1 else ''}"]
        parts.append(_counts(self.faults) or "no faults")
        parts.append(_counts(self.outcomes))
        return f"{self.title}: {'; '.join(parts)}; {took_s:.0f} s; {self.verdict}"


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{count} {word}" for word, count in sorted(counter.items()))
