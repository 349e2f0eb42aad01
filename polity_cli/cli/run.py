"""`polity run ROLE -- CMD...`."""

from __future__ import annotations

import sys

import click

from polity_cli.cli.common import Command, Options, with_options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn, TypeVar

    from polity_cli.cli.running import Interruption, Visit
    from polity_cli.core.tenure import Tenure
    from polity_cli.edges.runs import Claimed
    from polity_cli.errors import PolityError
    from polity_cli.runner import Bounds, Run

    F = TypeVar("F", bound=Callable[..., object])


def _seconds(default: float, name: str, text: str) -> Callable[[F], F]:
    return click.option(
        name,
        type=click.FloatRange(0, 86_400, min_open=True),
        default=default,
        show_default=True,
        metavar="SECONDS",
        help=text,
    )


@click.command(
    cls=Command,
    exits=(2, 3, 5, 6, 7, 8, 122, 125, 126, 127, 130),
    example="polity run backup -- run-backup --full",
)
@click.argument("role")
@click.argument("argv", metavar="CMD...", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option("--keep", is_flag=True, help="Hold ROLE on after CMD has ended.")
@click.option(
    "--conflict-exit-code",
    type=click.IntRange(0, 255),
    metavar="CODE",
    default=3,
    show_default=True,
    help="The exit code where another node holds ROLE; with 0 nothing is said of it.",
)
@click.option("--report", metavar="FILE", help="Write what came of it there, as one JSON object.")
@click.option(
    "--slot",
    "line",
    metavar="'CRON LINE'",
    help="Run CMD once for the latest time that this cron line names, in the whole cluster: '0 3 * * *'.",
)
@click.option(
    "--slot-id",
    metavar="ID",
    help="The same for an occasion of your own; each ID must come after the one before, as 2026-11-24 does.",
)
@_seconds(5.0, "--check", "How often a quorum is asked whether this node still holds ROLE.")
@_seconds(30.0, "--grace", "How long CMD may run without a quorum's word.")
@_seconds(10.0, "--kill-grace", "From TERM to KILL, if CMD must be ended.")
@with_options(
    wait="Stand by, however long, until ROLE is this node's; --timeout limits each single election.",
    speaks_json=False,
)
def run(
    role: str,
    argv: tuple[str, ...],
    keep: bool,
    conflict_exit_code: int,
    report: str | None,
    line: str | None,
    slot_id: str | None,
    check: float,
    grace: float,
    kill_grace: float,
    options: Options,
) -> None:
    """Run CMD while this node holds ROLE: stand for it, run CMD, give ROLE back when CMD ends.

    The exit code is CMD's own (128 and the number of the signal that ended it; 126, 127 where it cannot be
    started), and 122 if ROLE was lost and CMD was ended for that: TERM to it and all in its process group,
    KILL after --kill-grace. Signals are passed on to CMD. It finds POLITY_ROLE, POLITY_TERM and POLITY_NODE
    in its environment; the term is a fencing token, see `polity guard`.

    Nothing of CMD runs longer than --grace and --kill-grace after a quorum has last confirmed that this node
    holds ROLE, even if polity itself is killed or stopped.

    With --slot or --slot-id it is run at most once for each slot, by whichever node comes first, however
    short it is and however far clocks are apart. That somebody had the slot ends with 3, as where another
    node holds ROLE. CMD finds it in POLITY_SLOT.
    """
    from polity_cli.core.tenure import check_role
    from polity_cli.runner import Bounds

    check_role(role)
    slot = _slot(line, slot_id, keep)
    if "--" not in sys.argv:
        raise click.UsageError("write -- before the command", ctx=click.get_current_context())
    bounds = Bounds(check, grace, kill_grace)
    bounds.check(options.settings().succession_of(role))
    _Shift(role, argv, keep, conflict_exit_code, report, slot, bounds, options).run()


def _slot(line: str | None, slot_id: str | None, keep: bool) -> str:
    """The slot that is wanted, "" for none; raises BadInput."""
    from polity_cli.core.slot import NO_SLOT, check_slot
    from polity_cli.errors import BadInput

    if line is None and slot_id is None:
        return NO_SLOT
    if keep or None not in (line, slot_id):
        raise BadInput(
            "--slot, --slot-id and --keep exclude each other",
            hint="a slot is had once without holding on; name it by a cron line or by an id",
        )
    if slot_id is not None:
        return check_slot(slot_id)
    from polity_cli.crontab import slot_of

    assert line is not None
    return slot_of(line)


class _Shift:
    """One `polity run`, from the election to the exit code."""

    def __init__(
        self,
        role: str,
        argv: tuple[str, ...],
        keep: bool,
        conflict_exit_code: int,
        report: str | None,
        slot: str,
        bounds: Bounds,
        options: Options,
    ) -> None:
        from time import monotonic

        from polity_cli.cli.progress import Progress
        from polity_cli.cli.running import Interruption

        self._role = role
        self._argv = argv
        self._keep = keep
        self._conflict_exit_code = conflict_exit_code
        self._report = report
        self._slot = slot
        self._bounds = bounds
        self._options = options
        self._started = monotonic()
        self._interruption: Interruption = Interruption()
        self._progress = Progress(verbose=options.verbose, started=self._started)
        self._node = ""
        self._claimed: Claimed | None = None
        self._said = ""
        self._later: list[Callable[[], None]] = []

    def run(self) -> NoReturn:
        from polity_cli.cli.running import Interrupted
        from polity_cli.errors import PolityError

        try:
            tenure, confirmed_s = self._win()
        except PolityError as error:
            code = self._conflict_exit_code if error.exit_code == 3 else error.exit_code
            if self._interruption.signal:
                code = 128 + self._interruption.signal
            self._end("not_started", code, error=error)
        except Interrupted:
            code = 128 + self._interruption.signal
            self._end("not_started", code, error=PolityError(self._interruption.told()))
        assert self._claimed is not None
        self._work(tenure, confirmed_s, self._claimed)

    def _win(self) -> tuple[Tenure, float]:
        """Stand until the role is won; without --wait, once. Also when it was known to be: by boottime."""
        from random import uniform
        from time import sleep

        from polity_cli.cli.running import visit
        from polity_cli.errors import BadInput, SlotTaken, Unfit
        from polity_cli.errors import PolityError as Failure
        from polity_cli.leash import boottime_s

        while True:
            asked_s = boottime_s()
            try:
                tenure = visit(
                    "run",
                    self._options,
                    self._stand,
                    progress=self._progress,
                    interruption=self._interruption,
                    later=self._later,
                )
            except Failure as error:
                hopeless = isinstance(error, BadInput | Unfit | SlotTaken)
                if hopeless or not self._options.wait or self._interruption.signal:
                    raise
                self._stand_by(str(error))
                sleep(self._bounds.check_s * uniform(0.5, 1.0))
            else:
                return tenure, asked_s

    def _stand(self, visit: Visit) -> Tenure:
        from functools import partial

        from polity_cli.cli.output import decide
        from polity_cli.core.operation import Purpose, Verdict
        from polity_cli.edges.runs import claim
        from polity_cli.errors import Busy, LostElection, NoQuorum, SlotTaken
        from polity_cli.outcomes import slot_taken

        session = visit.session
        self._node = session.node
        if self._claimed is None:
            settings = self._options.settings()
            self._claimed = claim(settings.state_dir, settings.namespace, session.node, self._role)
        if self._claimed is None:
            raise Busy(
                f"another `polity run` of {self._role} is under way on {session.node}",
                hint="one at a time; with --wait this one takes its turn",
            )
        # Whatever becomes of this process: what it may win is given back.
        self._claimed.write(self._role, 0)
        while True:
            outcome, error = decide(
                visit,
                Purpose.ELECT,
                self._role,
                lambda: session.elect(self._role, timeout_s=visit.left(), slot=self._slot),
            )
            tenure = outcome.tenure
            if isinstance(error, LostElection | NoQuorum | SlotTaken):
                self._claimed.clear()
            held = outcome.verdict in (Verdict.LOST, Verdict.HELD)
            if tenure is not None and held and tenure.has_had(self._slot):
                raise slot_taken(self._role, tenure)
            if error is not None:
                raise error
            assert tenure is not None
            if not self._slot or outcome.verdict is Verdict.WON:
                return tenure
            # Nothing runs in it, as this process has the lock: a run that was killed has left it held.
            guard = partial(session.recall, self._role, holder=session.node, term=tenure.term)
            decide(visit, Purpose.RECALL, self._role, lambda: guard(timeout_s=visit.left()))  # noqa: B023

    def _stand_by(self, why: str) -> None:
        from polity_cli.cli.running import say

        self._progress.clear()
        if why != self._said:
            say(f"polity: standing by for {self._role}: {why}")
        self._said = why

    def _work(self, tenure: Tenure, confirmed_s: float, claimed: Claimed) -> NoReturn:
        from polity_cli.cli.running import say
        from polity_cli.runner import Run, Runner

        claimed.write(self._role, tenure.term)
        work = Run(
            settings=self._options.settings(),
            node=self._node,
            role=self._role,
            tenure=tenure,
            argv=self._argv,
            bounds=self._bounds,
            claimed=claimed,
            where=self._options.where(),
            confirmed_s=confirmed_s,
            say=lambda text: say(f"polity: {text}"),
        )
        self._progress.clear()
        runner = Runner(work)
        ended = runner.run(is_unwanted=lambda: self._interruption.signal != 0)
        if self._keep and ended is not None:
            given_back = False
            claimed.clear()
        else:
            given_back = self._give_back(work)
        runner.close()
        if ended is None:
            self._end("not_started", 128 + self._interruption.signal, tenure=tenure, given_back=given_back)
        code = 122 if ended.lost else ended.code
        self._end(
            "lost" if ended.lost else "ran", code, tenure=tenure, given_back=given_back, reason=ended.lost
        )

    def _give_back(self, work: Run) -> bool:
        from polity_cli.cli.running import complain
        from polity_cli.errors import PolityError

        try:
            return work.give_back(timeout_s=self._options.timeout)
        except PolityError as error:
            complain(
                PolityError(
                    f"{self._role} (term {work.tenure.term}) is not given back yet: {error}",
                    hint="the voter on this node goes on trying; so does `polity resign`",
                )
            )
            return False

    def _end(
        self,
        outcome: str,
        code: int,
        *,
        error: PolityError | None = None,
        tenure: Tenure | None = None,
        given_back: bool = False,
        reason: str = "",
    ) -> NoReturn:
        from time import monotonic

        from polity_cli.cli.running import complain, leave

        self._progress.clear()
        if error is not None and code:
            complain(error)  # what is to end with 0 is no error to whoever asked for it
        data: dict[str, object] = {
            "command": "run",
            "role": self._role,
            "outcome": outcome,
            "node": self._node or None,
            "term": tenure.term if tenure else None,
            "slot": self._slot or None,
            "exit_code": code,
            "given_back": given_back,
            "reason": reason or (str(error) if error else ""),
            "seconds": round(monotonic() - self._started, 3),
        }
        if self._report is not None:
            _write(self._report, data)
        for work in self._later[-1:]:
            work()
        leave(code)


def _write(path: str, data: dict[str, object]) -> None:
    """Write a report as a whole, or say that it cannot be written."""
    import json
    import os

    from polity_cli.cli.running import complain
    from polity_cli.errors import PolityError

    try:
        with open(f"{path}.new", "w", encoding="utf-8") as file:
            file.write(json.dumps(data) + "\n")
        os.replace(f"{path}.new", path)
    except OSError as error:
        complain(PolityError(f"the report {path} cannot be written: {error.strerror}"))
