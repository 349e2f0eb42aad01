"""The JSON that commands answer with: one table, the source of docs/json.md and of what tests check.

A kind is `text`, `count` (a whole number from 0), `number`, `yes/no`, words separated by `|` (one of them),
the name of a shape, or any of these with `?` (or null) or in brackets (a list of them).

    python -m polity_cli.cli.shapes > docs/json.md
"""

from __future__ import annotations

from polity_cli.cli.common import EXIT_CODES
from polity_cli.core.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


class Key(Record):
    """`fixed`: scripts may count on it for ever; others may still change."""

    name: str
    kind: str
    meaning: str
    fixed: bool = True


def _more(name: str, kind: str, meaning: str) -> Key:
    return Key(name, kind, meaning, fixed=False)


_OPERATION = (
    Key("votes", "votes", "who stood behind the outcome; see below"),
    Key("round_trips", "count", "how often everybody was asked something new"),
    Key("seconds", "number", "from start to answer"),
    _more("silent", "[text]", "nodes of voters that did not answer the last question"),
    _more("may_take_effect", "yes/no", "true only where the outcome is `unknown`"),
)
_SECONDS = _more("seconds", "number", "from start to answer")
_HINT = _more("hint", "text", "what could be better, and how; empty if nothing")

PARTS: dict[str, tuple[Key, ...]] = {
    "votes": (
        Key("yes", "count", "voters for it"),
        Key("no", "count", "voters that named another holder"),
        Key("required", "count", "votes that decide; 0 where no electorate was reached"),
        Key("population", "count", "voters in all; 0 where no electorate was reached"),
    ),
    "role": (
        Key("role", "text", "the role's name"),
        Key("holder", "text?", "a node's name; null where vacant"),
        Key("term", "count", "the fencing token"),
        Key("source", "quorum|ledger", "who says so: a quorum, or this node's own ledger"),
    ),
    "enrolled": (
        Key("node", "text", "the node's name"),
        Key("voter", "text", "the voter's id, in hex"),
    ),
    "voter": (
        Key("node", "text", "the node's name"),
        Key("voter", "text", "the voter's id, in hex"),
        Key("status", "text", "Serf's word for the node: alive, leaving, left, failed; or unknown"),
        Key("enrolled", "yes/no", "false if it answers as a voter without being one"),
        _more("answers", "yes/no", "whether its voter answered just now"),
        _more("joins", "yes/no", "whether it becomes a voter by the change under way"),
        _more("leaves", "yes/no", "whether it is one no more after that"),
        _more("set_back", "yes/no", "whether its ledger was found set back, so that it counts as silent"),
    ),
    "size": (
        Key("population", "count", "voters in all"),
        Key("quorum", "count", "votes that decide"),
        Key("may_fail", "count", "how many may fail when all are well"),
        Key("answer", "count", "how many of them answered just now"),
    ),
    "remembered": (
        Key("role", "text", "the role's name"),
        Key("holder", "text?", "a node's name; null where vacant"),
        Key("term", "count", "as it is in the ledger now"),
        Key("old_term", "count?", "as it was before the rescue, 0 if there was no trace; null with --show"),
        Key(
            "known", "confirmed|accepted|promised", "before a rescue: decided; perhaps so; a name and no more"
        ),
        _more("accepted", "text", "the ballot of the newest tenure accepted: round, proposer, `/fast`"),
        _more("promised", "text", "the highest ballot promised"),
    ),
    "finding": (
        Key("check", "text", "what was looked at"),
        Key("level", "ok|warn|FAIL", "only FAIL makes the node unfit"),
        Key("text", "text", "what was found"),
        Key("advice", "text", "what to do about it; empty if nothing"),
    ),
}

_CHANGE = (
    Key("outcome", "changed|unchanged|planned", "`planned` with --dry-run"),
    Key("polity", "text", "the polity's id, in hex"),
    Key("epoch", "count", "which electorate of the polity"),
    Key("before", "size", "the electorate as it was; see below"),
    Key("after", "size", "as it is, or would be"),
    Key("enrols", "[text]", "nodes of the voters that are new"),
    Key("strikes", "[text]", "nodes of the voters that are none any more"),
    Key("carried", "[text]", "the roles decided anew for the new voters"),
    _more("rule", "text", "the quorum rule in words"),
    _SECONDS,
)
CHANGES = tuple(f"voters {word}" for word in ("add", "remove", "replace", "rule", "sync"))
COMMANDS: dict[str, tuple[Key, ...]] = {
    "elect": (
        Key("role", "text", "as asked"),
        Key("outcome", "won|held|lost|no_quorum|unknown", "`held`: this node holds it since before"),
        Key("holder", "text?", "a node's name; null where vacant or not known"),
        Key("term", "count?", "the fencing token; null where not known"),
        Key("candidate", "text", "this node's name"),
        *_OPERATION,
    ),
    "recall": (
        Key("role", "text", "as asked"),
        Key(
            "outcome", "recalled|vacant|guard|no_quorum|unknown", "`guard`: --holder or --term did not match"
        ),
        Key("previous_holder", "text?", "whom this recalled; with `guard`, who holds it"),
        Key("term", "count?", "the term the role is in now; null where not known"),
        *_OPERATION,
    ),
    "resign": (
        Key("role", "text", "as asked"),
        Key(
            "outcome",
            "resigned|vacant|guard|no_quorum|unknown",
            "`guard`: another node holds it, or it is another term",
        ),
        Key("holder", "text?", "who holds it now; null where vacant or not known"),
        Key("term", "count?", "the term the role is in now; null where not known"),
        *_OPERATION,
    ),
    "run": (
        Key("role", "text", "as asked"),
        Key("outcome", "ran|lost|not_started", "`lost`: the role was lost, and the command was ended"),
        Key("node", "text?", "this node's name; null where the agent did not tell it"),
        Key("term", "count?", "the term that the command ran in; null where the role was not won"),
        _more("slot", "text?", "the slot that the role was wanted for; null without one"),
        Key("exit_code", "count", "of `polity run`"),
        Key("given_back", "yes/no", "whether the role is vacant by this"),
        Key("reason", "text", "why it was lost or nothing was started; else empty"),
        _SECONDS,
    ),
    "who": (
        Key("role", "text", "as asked"),
        Key("outcome", "held|vacant|no_quorum", ""),
        Key("holder", "text?", "a node's name; null where vacant or not known"),
        Key("term", "count?", "the fencing token; null where not known"),
        Key("source", "quorum|ledger", "`ledger` with --cached: what this node remembers, which may be old"),
        _more("slot", "text?", "the newest slot that the role was filled for; null for none or not known"),
        _SECONDS,
    ),
    "roles": (Key("roles", "[role]", "each known role; see below"), _SECONDS),
    "watch": (
        Key("role", "text", "the role's name"),
        Key("term", "count", "the fencing token; for each role it only grows, and may jump"),
        Key("holder", "text?", "a node's name; null where vacant"),
        Key("previous_term", "count", "the newest term told of before; 0 if none was"),
        Key("seen", "text", "when it was seen, in UTC: `2026-01-31T12:00:00.000Z`"),
        Key("node", "text", "the node that saw it"),
        Key("polity", "text", "the polity's id, in hex; the terms are its own"),
    ),
    "voters": (
        Key("polity", "text", "the polity's id, in hex"),
        Key("epoch", "count", "which electorate of the polity"),
        Key("quorum", "count", "votes that decide"),
        Key("population", "count", "voters in all"),
        Key("may_fail", "count", "how many of those that answer may still fail"),
        Key("voters", "[voter]", "the voters, and who else answers as one; see below"),
        _more("may_fail_at_most", "count", "how many may fail when all are well"),
        _more("has_quorum", "yes/no", "whether enough answer to decide anything"),
        _more("is_changing", "yes/no", "whether it takes a quorum of the old and one of the new voters now"),
        _more("rule", "text", "the quorum rule in words"),
        _HINT,
        _SECONDS,
    ),
    **dict.fromkeys(CHANGES, _CHANGE),
    "voters rescue": (
        Key("outcome", "shown|rescued", "`shown` with --show"),
        Key("node", "text", "whose ledger it is"),
        Key("voter", "text", "its voter's id, in hex; a new one after a rescue"),
        Key("polity", "text", "the polity's id, in hex; a new one after a rescue"),
        Key("epoch", "count", "which electorate of the polity"),
        Key("quorum", "count", "votes that decide"),
        Key("population", "count", "voters in all"),
        Key("voters", "[enrolled]", "the voters, as far as this ledger knows"),
        Key("roles", "[remembered]", "each role it has a trace of; see below"),
        Key("ledger", "text", "the ledger's file"),
        Key("old_polity", "text?", "the id of the polity that was; null with --show"),
        Key("kept", "text?", "where the ledger as it was is kept; null with --show"),
        Key("record", "text?", "the file that tells of the rescue; null with --show"),
    ),
    "found": (
        Key("outcome", "founded|already_founded", ""),
        Key("polity", "text", "the polity's id, in hex"),
        Key("epoch", "count", "which electorate of the polity"),
        Key("quorum", "count", "votes that decide"),
        Key("population", "count", "voters in all"),
        Key("may_fail", "count", "how many may fail when all are well"),
        Key("voters", "[enrolled]", "the voters; see below"),
        _more("rule", "text", "the quorum rule in words"),
        _HINT,
        _SECONDS,
    ),
    "guard": (
        Key("outcome", "shown|recorded|known|refused|busy", "`known`: the term was in the file before"),
        Key("state", "text", "the state file"),
        Key("given", "count?", "the term that was shown to the guard; null with --show"),
        Key("term", "count?", "the highest term seen, this one included; null if none was"),
        Key("role", "text?", "the role whose terms these are; null if nobody said so yet"),
        _more("running", "count?", "the term of the command that runs under it; null if none, or not known"),
    ),
    "dissolve": (
        Key("outcome", "planned|dissolved|nothing_to_do", "`planned` without --yes; the code is 2 then"),
        Key("node", "text", "this node's name"),
        Key("polity", "text?", "the id of the polity that is left, in hex; null if there is none"),
        Key("roles", "[role]", "the roles of that polity; see below"),
        Key("ledger", "text?", "the file in which the ledger is kept; null if it was not touched"),
        Key("list", "text?", "the file with the list of roles; null if none was written"),
        _more("same", "[text]", "nodes that answered and belong to that polity"),
        _more("others", "[text]", "nodes that answered and belong to another one"),
        _HINT,
        _SECONDS,
    ),
    "doctor": (
        Key("outcome", "fit|unfit", ""),
        Key("findings", "[finding]", "one for each check; see below"),
    ),
}

FAILURE = (
    Key("outcome", "error", "the command has no outcome of its own to tell"),
    Key("error", "text", "what happened"),
    Key("hint", "text", "what to do; may be empty"),
    Key("exit_code", "count", "the code the command ends with"),
)
# Beside the outcomes that are no plain yes.
EXTRA = {key.name: key for key in FAILURE if key.name != "outcome"}


def mismatches(answer: object) -> list[str]:
    """Where an answer differs from its shape: a missing or unknown key, or a value of another kind."""
    if not isinstance(answer, dict) or "command" not in answer:
        return ["no object with a command"]
    if answer.get("outcome") == "error":
        return list(_check({k: v for k, v in answer.items() if k != "command"}, FAILURE, "", {}))
    command = answer["command"]
    if command not in COMMANDS:
        return [f"no shape for the command {command!r}"]
    extra = EXTRA if "error" in answer else {}
    if command == "who" and answer.get("source") == "quorum":
        extra = extra | {key.name: key for key in _OPERATION}
    body = {key: value for key, value in answer.items() if key != "command"}
    return list(_check(body, COMMANDS[command], "", extra))


def _check(value: dict[str, object], keys: tuple[Key, ...], at: str, extra: dict[str, Key]) -> Iterator[str]:
    known = extra | {key.name: key for key in keys}
    for key in keys:
        if key.name not in value:
            yield f"{at}{key.name} is missing"
    for name, found in value.items():
        if name not in known:
            yield f"{at}{name} is not in the table"
        else:
            yield from _check_kind(found, known[name].kind, f"{at}{name}")


def _check_kind(value: object, kind: str, at: str) -> Iterator[str]:
    if kind.endswith("?"):
        if value is not None:
            yield from _check_kind(value, kind[:-1], at)
    elif kind.startswith("["):
        if not isinstance(value, list):
            yield f"{at} is no list: {value!r}"
            return
        for item in value:
            yield from _check_kind(item, kind[1:-1], f"{at}[]")
    elif kind in PARTS:
        if isinstance(value, dict):
            yield from _check(value, PARTS[kind], f"{at}.", {})
        else:
            yield f"{at} is no object: {value!r}"
    elif not _is(value, kind):
        yield f"{at} is no {kind}: {value!r}"


def _is(value: object, kind: str) -> bool:
    whole = isinstance(value, int) and not isinstance(value, bool)
    match kind:
        case "text":
            return isinstance(value, str)
        case "count":
            return isinstance(value, int) and whole and value >= 0
        case "number":
            return whole or isinstance(value, float)
        case "yes/no":
            return isinstance(value, bool)
        case _:
            return value in kind.split("|")


_HEAD = """\
# Exit codes and JSON

Made by `python -m polity_cli.cli.shapes > docs/json.md` from the table that the tests check every answer
against.

## Exit codes

{codes}

A command that is interrupted but whose outcome was decided in that moment tells it, with the code of the
outcome. If stdout is closed (`| head`) the code is still that of the outcome; if the answer cannot be
written (a full disk) the code is 1.

`polity guard` ends with the code of the command it runs, 128 and the signal's number if one ended it. Its own
are 2, 3, 5 (still busy; nothing was started, so try again freely) and 8, and of env(1) 125, 126 and 127: see
[fencing.md](fencing.md#exit-codes).

## JSON

With `--json` a command prints one object on one line on standard output, in ASCII, and nothing else
(`polity watch`, `polity roles --watch` and `polity voters --watch` print one for each change); talk goes to
standard error. Keys may be added at any time. Those marked `*` may also change; the others are fixed. Each
object has `command`, the command's name. Where the outcome is not a plain yes (an exit code other than
0) the object also has `error`, `hint` and `exit_code`, as in the last table. `polity serf-config` prints
Serf's own configuration format instead; `polity agent` and `polity demo` have no JSON.
Nor has `polity guard` where it runs a command: stdout is that command's.

"or null" is a key that is there with the value `null`; no key is ever left out. `term` is the fencing token:
it only grows, also through vacancies.
"""


def document() -> str:
    """All of docs/json.md."""
    codes = "\n".join(
        ["| code | meaning |", "| --- | --- |", *(f"| {c} | {t} |" for c, t in EXIT_CODES.items())]
    )
    parts = [_HEAD.format(codes=codes).strip()]
    for command, keys in COMMANDS.items():
        if command in CHANGES[1:]:
            continue
        parts += [f"### {', '.join(CHANGES) if command in CHANGES else command}", _table(keys)]
        if command == "who":
            parts.append("Without `--cached` also the last five keys of `recall`, with the same meanings.")
        if command == "watch":
            parts.append("One object a line for each change. A webhook is sent the same object.")
        if command == "run":
            parts.append("In the file of `--report`; standard output is the command's own.")
        if command == "doctor":
            parts.append("Exit code 0 if `fit`, else 7 where Serf's agent is at fault, 8 for the rest.")
    parts += ["## Parts", "What is inside the objects and lists above."]
    for part, keys in PARTS.items():
        parts += [f"### One {part}" if part != "votes" else "### The votes", _table(keys)]
    parts += [
        "## Any failure",
        "Where a command could not come to an outcome. `command` is null if the command line names none.",
        _table(FAILURE),
    ]
    return "\n\n".join(parts) + "\n"


def _table(keys: tuple[Key, ...]) -> str:
    rows = [
        f"| `{key.name}`{'' if key.fixed else ' *'} | {_words(key.kind)} | {key.meaning or 'one of these'} |"
        for key in keys
    ]
    return "\n".join(["| key | value | |", "| --- | --- | --- |", *rows])


def _words(kind: str) -> str:
    if kind.endswith("?"):
        return f"{_words(kind[:-1])} or null"
    if kind.startswith("["):
        return f"list of {_words(kind[1:-1])}"
    if kind in PARTS:
        return f"object: {kind}"
    if "|" in kind or kind == "error":
        return ", ".join(f"`{word}`" for word in kind.split("|"))
    return {"yes/no": "true or false", "count": "whole number"}.get(kind, kind)


if __name__ == "__main__":
    print(document(), end="")
