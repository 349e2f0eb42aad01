"""The checks of `polity doctor`: each looks at one thing and says what to do about it.

They go from the outside in: Serf's agent, this node's tag, its memory, its voter, the electorate. A check
whose ground is missing is left out, not guessed.
"""

from __future__ import annotations

import os
from contextlib import suppress
from time import monotonic

from polity_cli.asking import two_polities
from polity_cli.conduct import Conductor
from polity_cli.core.ballot import ID_BYTES
from polity_cli.core.messages import NO_POLITY, Fetch, Page
from polity_cli.core.record import Record
from polity_cli.core.witness import way_out
from polity_cli.edges import wire
from polity_cli.edges.ledger import Ledger, ledger_path
from polity_cli.edges.network import VOTER_TAG, SerfNetwork
from polity_cli.edges.serf_rpc import SerfClient
from polity_cli.edges.serf_types import Done, Response
from polity_cli.errors import LedgerError, PolityError, SerfError
from polity_cli.rescue import reports_on
from polity_cli.session import node_name
from polity_cli.settings import namespace_words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from polity_cli.core.electorate import Electorate
    from polity_cli.settings import Settings

OK = "ok"
WARN = "warn"
FAIL = "FAIL"

_VOTER_PATIENCE_S = 2.0
_SLOW_MS = 500
# After the first answer, as long as a second program on the same node may take to give another.
_MORE_ANSWERS_S = 0.1
_ENOUGH_SPACE_MB = 50
_VOLATILE = ("tmpfs", "ramfs")


class Finding(Record):
    """What a check found: `level` is ok, warn or FAIL; `advice` says what to do unless it is ok."""

    check: str
    level: str
    text: str
    advice: str = ""


def examine(settings: Settings) -> list[Finding]:
    """All findings about this node, in the order of the checks. Never raises PolityError."""
    findings = [Finding("configuration", OK, settings.config or "no file; flags, environment and defaults")]
    findings += _state_dir(settings)
    try:
        with SerfClient.connect(settings.rpc_addr, auth_key=settings.rpc_auth) as serf:
            findings += _with_serf(settings, serf)
    except SerfError as error:
        findings.append(Finding("serf", FAIL, str(error), error.hint))
    return findings


def _state_dir(settings: Settings) -> Iterator[Finding]:
    path = settings.state_dir
    there = path
    while not os.path.isdir(there):
        there = os.path.dirname(os.path.abspath(there))
    if not os.access(there, os.W_OK):
        yield Finding(
            "state directory",
            FAIL,
            f"{path} cannot be written by this user",
            "run this as the user that serf runs as, or set POLITY_STATE_DIR (--state-dir) for both",
        )
        return
    kind = _file_system(there)
    space = os.statvfs(there)
    free_mb = space.f_bavail * space.f_frsize // 2**20
    if kind in _VOLATILE:
        yield Finding(
            "state directory",
            WARN,
            f"{path} is on {kind}, which forgets everything with a reboot",
            "put it on a disk: a voter that forgets is another voter",
        )
    elif free_mb < _ENOUGH_SPACE_MB:
        yield Finding("state directory", WARN, f"only {free_mb} MB are free at {path}", "free some space")
    else:
        yield Finding("state directory", OK, f"{path} ({kind}, {free_mb} MB free)")


def _file_system(path: str) -> str:
    """The kind of file system that a directory is on, from /proc/mounts; "unknown" where there is none."""
    best, kind = "", "unknown"
    real = os.path.realpath(path)
    try:
        with open("/proc/mounts", encoding="utf-8", errors="replace") as mounts:
            for line in mounts:
                _, point, found, *_ = line.split()
                inside = real == point or real.startswith(point.rstrip("/") + "/")
                if inside and len(point) >= len(best):
                    best, kind = point, found
    except OSError:
        pass
    return kind


def _with_serf(settings: Settings, serf: SerfClient) -> Iterator[Finding]:
    node = node_name(serf)
    members = serf.members()
    alive = sum(member.status == "alive" for member in members)
    yield Finding("serf", OK, f"the agent of {node} answers at {settings.rpc_addr}; {alive} nodes are alive")
    tags = next((member.tags for member in members if member.name == node), {})
    votes = tags.get(settings.namespace) == VOTER_TAG
    beside = namespace_words(settings.namespace)
    if votes:
        yield Finding("tag", OK, f"{node} carries the tag {settings.namespace}={VOTER_TAG}")
    else:
        yield Finding(
            "tag",
            WARN,
            f"{node} does not carry the tag {settings.namespace}={VOTER_TAG}: it may stand, but is no voter",
            f"to make it one, give serf the output of `polity serf-config{beside}` as a -config-file and "
            "restart it",
        )
    yield from _ledger(settings, node, votes)
    if votes:
        yield from _voter(settings, serf, node)
    ledger = _own_ledger(settings, node)
    try:
        with SerfNetwork(serf, settings.namespace) as network:
            conductor = Conductor(network, remembered=None if ledger is None else _remembered(ledger))
            yield from _electorate(conductor, node, votes)
        if ledger is not None and (news := conductor.witness.news()):
            with suppress(LedgerError):
                ledger.remember(news)
    finally:
        if ledger is not None:
            ledger.close()


def _ledger(settings: Settings, node: str, votes: bool) -> Iterator[Finding]:
    path = ledger_path(settings.state_dir, settings.namespace, node)
    try:
        ledger = Ledger.open(path, node, create=False)
        if ledger is None:
            level = WARN if votes else OK
            text = f"there is none yet at {path}"
            yield Finding("ledger", level, text, "the voter makes it when it is first asked" if votes else "")
            return
        damage = ledger.check()
        polity = NO_POLITY if damage else ledger.me().polity
        ledger.close()
    except LedgerError as error:
        yield Finding("ledger", FAIL, str(error), error.hint)
        return
    if damage:
        yield Finding("ledger", FAIL, f"{path} is damaged: {damage[0]}", "move it away and keep it")
    else:
        yield Finding("ledger", OK, path)
    for record, report in reports_on(path, polity):
        yield Finding(
            "rescue",
            WARN,
            f"{report.get('user')} made {node} the only voter of a new polity at {report.get('when')}: "
            "what was decided without it before is lost",
            f"{record} tells more. Once no ledger of polity {report.get('old_polity')} is in use anywhere "
            "and all roles were looked at, move that file away, and this warning ends",
        )


def _voter(settings: Settings, serf: SerfClient, node: str) -> Iterator[Finding]:
    """Ask this node's own voter a question over Serf, as others do."""
    started = monotonic()
    question = wire.encode(Fetch(os.urandom(ID_BYTES), b"", 0))
    query = serf.query(settings.namespace, question, filter_nodes=[node], timeout_s=_VOTER_PATIENCE_S)
    deadline = started + _VOTER_PATIENCE_S + 1
    answers: list[bytes] = []
    took_ms = 0.0
    while (left_s := deadline - monotonic()) > 0:
        record = query.next(left_s)
        if record is None or isinstance(record, Done):
            break
        if isinstance(record, Response):
            if not answers:
                took_ms = (monotonic() - started) * 1000
                deadline = monotonic() + _MORE_ANSWERS_S
            answers.append(record.payload)
    if not answers:
        beside = namespace_words(settings.namespace)
        yield Finding(
            "voter",
            FAIL,
            f"nothing on {node} answers polity's queries",
            f"run `polity agent{beside}`, or give serf the handlers that `polity serf-config{beside}` "
            "prints; the hook writes what hinders it to syslog (journalctl -t polity-hook) or to the file "
            "POLITY_HOOK_LOG names",
        )
        return
    if len(answers) > 1:
        text = f"{len(answers)} answers came to one question to {node}"
        yield Finding("answers", WARN, text, "two nodes may have this name; give each its own")
    yield from _answer(settings, node, answers[0], took_ms)


def _answer(settings: Settings, node: str, payload: bytes, took_ms: float) -> Iterator[Finding]:
    """What the answer of this node's own voter tells."""
    try:
        reply = wire.decode_reply(payload)
    except wire.Garbled as error:
        text = f"the handler's answer makes no sense: {error}"
        yield Finding("voter", FAIL, text, "another program answers queries of this name")
        return
    if not isinstance(reply, Page):
        text = "the handler's answer does not fit the question"
        yield Finding("voter", FAIL, text, "another program answers queries of this name")
        return
    founded = "no polity" if reply.polity == NO_POLITY else f"polity {reply.polity.hex()}"
    text = f"answers in {took_ms:.0f} ms as {reply.voter.hex()}, of {founded}"
    if took_ms > _SLOW_MS:
        yield Finding("voter", WARN, text, "serf runs its handlers one by one: is another one slow?")
    else:
        yield Finding("voter", OK, text)
    ours = _voter_id(settings, node)
    if ours is not None and ours != reply.voter:
        yield Finding(
            "memory",
            WARN,
            f"the voter that answers has another ledger than {settings.state_dir} holds",
            "give voter and commands the same POLITY_STATE_DIR (--state-dir)",
        )


def _own_ledger(settings: Settings, node: str) -> Ledger | None:
    """This node's ledger as the settings find it; None if there is none to be read."""
    try:
        return Ledger.open(ledger_path(settings.state_dir, settings.namespace, node), node, create=False)
    except LedgerError:
        return None


def _remembered(ledger: Ledger) -> dict[tuple[str, bytes], int]:
    try:
        return ledger.witness()
    except LedgerError:
        return {}


def _voter_id(settings: Settings, node: str) -> bytes | None:
    """The id in this node's ledger; None if there is none to be read."""
    ledger = _own_ledger(settings, node)
    if ledger is None:
        return None
    try:
        return ledger.me().voter
    except LedgerError:
        return None
    finally:
        ledger.close()


def _electorate(conductor: Conductor, node: str, votes: bool) -> Iterator[Finding]:
    try:
        electorate = conductor.learn_electorate(timeout_s=5)
    except PolityError as error:
        yield Finding("electorate", FAIL, str(error), error.hint)
        return
    if electorate is None:
        yield Finding("electorate", WARN, "no polity is founded here", "found it with `polity found`")
        return
    yield from _enrolment(conductor, electorate, node, votes)


def _enrolment(conductor: Conductor, electorate: Electorate, node: str, votes: bool) -> Iterator[Finding]:
    members = conductor.network.members()
    wanted = {m.name for m in members if m.votes and m.status == "alive"}
    present = conductor.roll_call(timeout_s=5, enough=wanted.issubset)
    roll = electorate.current
    if electorate.is_joint:
        text = (
            f"electorate {electorate.epoch} is changing: it takes a quorum of the old and of the new voters"
        )
        yield Finding("electorate", WARN, text, "`polity voters sync` on any node finishes that")
    counted = [e.node for e in roll.voters if e.node in present and present[e.node].voter == e.voter]
    spare = len(counted) - roll.q
    text = f"{len(counted)} of {roll.n} voters answer, the quorum is {roll.q}"
    if spare < 0:
        yield Finding("quorum", FAIL, text, "nothing can be decided: bring voters back, see `polity voters`")
    elif spare == 0:
        missing = roll.n > len(counted)
        advice = (
            "bring the others back"
            if missing
            else f"none ever may: `polity voters rule --min-votes {roll.n // 2 + 1}`, or run more voters"
        )
        yield Finding("quorum", WARN, f"{text}: none of them may fail", advice)
    else:
        yield Finding("quorum", OK, f"{text}: {spare} may still fail")
    set_back = conductor.witness.set_back
    if set_back:
        what, _, advice = way_out(set_back).partition(". ")
        yield Finding("set back", FAIL, what, advice)
    yield from _copies(electorate, node, present)
    others = {n: p for n, p in present.items() if p.polity not in (NO_POLITY, electorate.polity)}
    if others:
        error = two_polities(electorate.polity, {name: page.polity for name, page in present.items()})
        yield Finding("polities", FAIL, str(error), error.hint)
    if node in present and not others:
        yield from _entered(electorate, node, present)
    elsewhere = electorate.node_of(present[node].voter) if node in present else None
    if votes and node in present and elsewhere is None:
        known = node in {e.node for e in electorate.voters}
        yield Finding(
            "enrolment",
            FAIL,
            f"the voter of {node} is not enrolled, so its votes do not count",
            "its node is, with another ledger: if that was only moved, move it back (never an old copy); "
            f"if it is lost, `polity voters add {node}` enrols it anew"
            if known
            else f"`polity voters add {node}` enrols it; agents do so by themselves",
        )
    elif votes and elsewhere == node:
        yield Finding("enrolment", OK, f"{node} is one of the {roll.n} voters")
    silent = sorted(wanted - {*present, *set_back})
    if silent:
        text = f"{', '.join(silent)} carry the voters' tag and do not answer"
        yield Finding("silent voters", WARN, text, "run `polity doctor` there")


def _copies(electorate: Electorate, node: str, present: dict[str, Page]) -> Iterator[Finding]:
    """Voters whose id is another node's, or two nodes': one ledger was copied to the other node."""
    homes: dict[bytes, set[str]] = {e.voter: {e.node} for e in electorate.voters}
    for name, page in present.items():
        homes.setdefault(page.voter, set()).add(name)
    for voter, names in sorted(homes.items()):
        home = electorate.node_of(voter)
        copies = sorted(names - {home or ""})
        if len(names) > 1:
            # Nobody counts a copy; to the node that has it, it is a vote less.
            level = FAIL if node in copies else WARN
            text = f"{', '.join(copies)} answers with the voter id of {home}: its ledger is a copy"
            if home is None:
                text = f"{', '.join(copies)} answer with one voter id, {voter.hex()}: their ledger was copied"
            yield Finding(
                "copies",
                level,
                text,
                "its votes do not count. Stop the voter there, move its ledger away and start it again: it "
                "comes back as a voter of its own, which `polity voters add NODE` enrols; agents do so by "
                "themselves",
            )


def _entered(electorate: Electorate, node: str, present: dict[str, Page]) -> Iterator[Finding]:
    """Whether this node's voter has entered the same record as the other enrolled voters."""
    enrolled = {e.node for e in electorate.voters}
    newest = max(present[name].epoch for name in enrolled & set(present) | {node})
    mine = present[node]
    records = {present[name].digest for name in enrolled & set(present) if present[name].epoch == newest}
    if mine.epoch < newest or not mine.polity:
        text = f"{node} has entered electorate {mine.epoch}, others have entered {newest}"
        yield Finding("record", WARN, text, "the next election or question hands it the newer record")
    elif len(records | {mine.digest}) > 1:
        text = f"voters have entered different records of electorate {newest}"
        yield Finding(
            "record", FAIL, text, "a ledger was tampered with or copied; compare `polity voters` runs"
        )
    else:
        yield Finding("record", OK, f"{node} has entered electorate {newest}, as the others have")
