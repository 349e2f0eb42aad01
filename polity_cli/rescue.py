"""`polity voters rescue`: one voter's ledger becomes the whole electorate, by a person's decision.

Why and into what is in `core/rescue.py`. Here it is done to a file, all of it under the ledger's write lock
and before anybody can see any of it:

1. the ledger as it is is copied, beside itself and with the date in its name;
2. a record of who does what to which roles is written beside it, as JSON;
3. the ledger is rewritten, in one transaction.

A crash before the last step is over leaves the ledger as it was, and perhaps a copy and a record of a polity
that never came to be; its id is in their names, and `reports_on` does not tell of it. The voter's program may
run meanwhile: each of its turns is a transaction too.

The copy is the old voter's last word, as after it the voter takes part in nothing of the old polity. Unlike
any other copy of a ledger it may therefore be put back in place of the ledger, which undoes the rescue, as
long as nobody else was enrolled since and no term of the new polity was shown to anybody.
"""

from __future__ import annotations

import json
import os
import pwd
import socket
from contextlib import suppress
from time import gmtime, strftime

from polity_cli.asking import SystemDraws
from polity_cli.core import rescue as rules
from polity_cli.core.messages import NO_POLITY, Register
from polity_cli.core.record import Record
from polity_cli.core.tenure import ELECTORATE, check_role
from polity_cli.edges import wire
from polity_cli.edges.ledger import Ledger, ledger_path
from polity_cli.edges.ledger_copy import copy_ledger, ledgers_in
from polity_cli.edges.ledger_file import sync_folder
from polity_cli.errors import BadInput, LedgerError, PolityError, Unfit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from polity_cli.core.electorate import Electorate
    from polity_cli.core.operation import Draws
    from polity_cli.core.voter import Self

_STAMP = "%Y%m%dT%H%M%SZ"


class Remembered(Record):
    """The newest a ledger knows of a role; `known` says how well. Ballots are for comparing ledgers."""

    role: str
    holder: str | None
    term: int
    known: str
    accepted: str
    promised: str


class Memory(Record):
    """All that a ledger remembers."""

    path: str
    node: str
    me: Self
    electorate: Electorate
    roles: tuple[Remembered, ...]


class Rescued(Record):
    """What was and what is; `kept` is the old ledger, `record` the file that tells of it."""

    before: Memory
    after: Memory
    kept: str
    record: str

    def changes(self) -> list[tuple[Remembered, int]]:
        """Each role as it is now, but `known` as well as before; and its term before, 0 without a trace."""
        old = {row.role: row for row in self.before.roles}
        return [
            (row._replace(known=old[row.role].known), old[row.role].term)
            if row.role in old
            else (row._replace(known=rules.PROMISED), 0)
            for row in self.after.roles
        ]


def find_ledger(state_dir: str, namespace: str, node: str | None) -> tuple[str, str]:
    """Node name and path of the one ledger there is, or of the one of `node`. Raises BadInput and Unfit."""
    if node is not None:
        return node, ledger_path(state_dir, namespace, node)
    found = ledgers_in(state_dir, namespace)
    if not found:
        raise _missing(state_dir, namespace)
    if len(found) > 1:
        raise BadInput(
            f"several nodes have ledgers in {state_dir}: {', '.join(sorted(found))}",
            hint="say with --node which one is meant",
        )
    return next(iter(found.items()))


def show(path: str, node: str) -> Memory:
    """What a ledger remembers; changes nothing. Raises Unfit if there is none, or it knows of no polity."""
    ledger = _open(path, node)
    try:
        with ledger.transaction(ELECTORATE):
            return _remembered(ledger, node)
    finally:
        ledger.close()


def carry_out(
    path: str,
    node: str,
    *,
    also: Iterable[str] = (),
    jump: int = rules.TERM_JUMP,
    draws: Draws | None = None,
) -> Rescued:
    """Make the voter of this ledger the only one of a new polity; see above. Raises Unfit and BadInput."""
    also = [check_role(role) for role in also]
    ledger = _open(path, node)
    try:
        with ledger.transaction(ELECTORATE) as turn:
            before = _remembered(ledger, node)
            if before.electorate.node_of(before.me.voter) != node:
                voters = ", ".join(e.node for e in before.electorate.voters)
                raise Unfit(
                    f"{node} is not one of the voters ({voters}), so its ledger knows little of the roles",
                    hint="rescue on one of those; `polity voters rescue --show` tells what each remembers",
                )
            if [e.voter for e in before.electorate.voters] == [before.me.voter]:
                raise Unfit(
                    f"{node} is the only voter already, and needs nobody else",
                    hint="`polity voters add` gives it others",
                )
            now = gmtime()
            new = rules.rescue(
                _registers(ledger), node, also=also, jump=jump, draws=draws or SystemDraws(), codec=wire
            )
            mark = f"rescue-{strftime(_STAMP, now)}-{new.me.polity.hex()}"
            kept, record = f"{path}.before-{mark}", f"{path.removesuffix('.ledger')}.{mark}.json"
            try:
                copy_ledger(path, kept)
                turn.start_over(new.me, new.record, dict(new.registers))
                done = Rescued(before, _remembered(ledger, node), kept, record)
                _write(record, _report(done, strftime("%Y-%m-%dT%H:%M:%SZ", now)))
            except PolityError:
                # The ledger lives on, and so this copy is one that must never be put back.
                with suppress(OSError):
                    os.unlink(kept)
                raise
        return done
    finally:
        ledger.close()


def reports_on(path: str, polity: bytes) -> list[tuple[str, dict[str, object]]]:
    """The records of rescues that made this polity on this ledger: path and content of each."""
    folder, name = os.path.split(path)
    begin = f"{name.removesuffix('.ledger')}.rescue-"
    found = []
    with suppress(OSError):
        for other in sorted(os.listdir(folder or ".")):
            if other.startswith(begin) and other.endswith(".json"):
                with (
                    suppress(OSError, ValueError),
                    open(os.path.join(folder, other), encoding="utf-8") as file,
                ):
                    report = json.load(file)
                    if isinstance(report, dict) and report.get("polity") == polity.hex():
                        found.append((os.path.join(folder, other), report))
    return found


def _missing(state_dir: str, namespace: str) -> Unfit:
    return Unfit(
        f"there is no ledger of the namespace {namespace} in {state_dir}",
        hint="name the right folder with --state-dir or POLITY_STATE_DIR; run it as the user that votes",
    )


def _open(path: str, node: str) -> Ledger:
    ledger = Ledger.open(path, node, create=False)
    if ledger is None:
        folder, name = os.path.split(path)
        raise Unfit(
            f"{node} has no ledger at {path}",
            hint=f"see which are there: ls {folder}; {name.partition('@')[0]} is the namespace",
        )
    return ledger


def _registers(ledger: Ledger) -> dict[str, Register]:
    return {role: ledger.register(role) for role in (ELECTORATE, *ledger.roles(limit=-1))}


def _remembered(ledger: Ledger, node: str) -> Memory:
    me = ledger.me()
    if me.polity == NO_POLITY:
        raise Unfit(
            f"the ledger of {node} knows of no polity: there is nothing to rescue",
            hint="another node's may; with no ledger left, `polity found` begins anew, with term 0",
        )
    data = ledger.record(me.digest)
    if data is None:
        raise LedgerError(
            f"the ledger {ledger.path} is damaged: the record it has entered is not in it",
            hint="rescue on another node",
        )
    roles = []
    for role in ledger.roles(limit=-1):
        register = ledger.register(role)
        tenure, known = rules.newest(register)
        ballots = str(register.accepted), str(register.promised)
        roles.append(Remembered(role, tenure.holder, tenure.term, known, *ballots))
    return Memory(ledger.path, node, me, wire.decode_record(data), tuple(roles))


def _report(done: Rescued, when: str) -> dict[str, object]:
    before, after = done.before, done.after
    return {
        "what": "polity voters rescue",
        "when": when,
        "user": _user(),
        "host": socket.gethostname(),
        "node": after.node,
        "voter": after.me.voter.hex(),
        "polity": after.me.polity.hex(),
        "epoch": after.me.epoch,
        "old_voter": before.me.voter.hex(),
        "old_polity": before.me.polity.hex(),
        "old_epoch": before.me.epoch,
        "old_voters": [{"node": e.node, "voter": e.voter.hex()} for e in before.electorate.voters],
        "kept": done.kept,
        "roles": [
            {"role": row.role, "holder": row.holder, "term": row.term, "old_term": term, "known": row.known}
            for row, term in done.changes()
        ],
    }


def _user() -> str:
    """Who runs this, and on whose behalf."""
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        name = str(os.getuid())
    behalf = os.environ.get("SUDO_USER")
    return f"{name} for {behalf}" if behalf else name


def _write(path: str, report: dict[str, object]) -> None:
    """Write a new file that is on the disk when this returns."""
    try:
        with open(path, "x", encoding="utf-8") as file:
            json.dump(report, file, indent=2)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        sync_folder(path)
    except OSError as error:
        raise Unfit(
            f"the record of the rescue cannot be written: {error}",
            hint="nothing was changed: free some space",
        ) from error
