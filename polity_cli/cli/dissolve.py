"""`polity dissolve`: the end of a polity, node by node."""

from __future__ import annotations

import click

from polity_cli.cli.common import Command, Options, with_options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from polity_cli.cli.running import Answer, Visit
    from polity_cli.dissolution import Estate, Left


@click.command(
    cls=Command,
    exits=(2, 6, 7, 8, 130),
    example="polity dissolve --yes",
)
@click.option("--yes", is_flag=True, help="Do it. Without it, only say what would be given up.")
@with_options
def dissolve(yes: bool, options: Options) -> None:
    """Take this node out of its polity for good, which another one in this cluster is to survive.

    Shows the roles of the polity first. With --yes it writes them to a file, keeps the ledger in another one
    beside it, and makes this node's voter a new one that belongs to no polity; nothing need be restarted. Do
    it on each node of the polity that is to end, then `polity voters sync` on a node of the other.
    """
    from polity_cli.cli.running import Answer, in_session

    def work(visit: Visit) -> Answer:
        from polity_cli import dissolution
        from polity_cli.errors import BadInput

        session = visit.session
        found = dissolution.estate(session, timeout_s=visit.left())
        if found is None:
            hint = "Once no node of its old polity is left: `polity voters sync` on a node of the other."
            data = _data("nothing_to_do", session.node, None, None, hint, visit.seconds())
            return Answer(data, f"{session.node} belongs to no polity", note=hint)
        if not yes:
            hint = _before(found)
            error = BadInput("nothing was done: this cannot be undone, so it wants --yes", hint=hint)
            return Answer(
                _data("planned", session.node, found, None, hint, visit.seconds()), _told(found), error
            )
        left = dissolution.leave(session, found)
        hint = _after(session.node, found)
        text = (
            f"{_told(found)}\n{session.node} has left polity {found.polity.hex()}\n"
            f"its ledger is kept in {left.ledger}\nits roles are listed in {left.roles}"
        )
        return Answer(_data("dissolved", session.node, found, left, hint, visit.seconds()), text, note=hint)

    in_session("dissolve", options, work)


def _data(
    outcome: str, node: str, found: Estate | None, left: Left | None, hint: str, seconds: float
) -> dict[str, object]:
    from polity_cli.dissolution import rows

    return {
        "command": "dissolve",
        "outcome": outcome,
        "node": node,
        "polity": None if found is None else found.polity.hex(),
        "roles": [] if found is None else rows(found),
        "ledger": None if left is None else left.ledger,
        "list": None if left is None else left.roles,
        "same": [] if found is None else list(found.same),
        "others": [] if found is None else list(found.others),
        "hint": hint,
        "seconds": seconds,
    }


def _told(found: Estate) -> str:
    from polity_cli.cli.output import sentence
    from polity_cli.cli.running import plain

    lines = [f"polity {found.polity.hex()}, electorate {found.epoch}, of {', '.join(found.same) or 'nobody'}"]
    if found.others:
        lines.append(f"of another polity: {', '.join(found.others)}")
    lines = [plain(line) for line in lines]
    for role, tenure, source in found.roles:
        lines.append(f"  {sentence(role, tenure)}{'' if source == 'quorum' else ', as its ledger remembers'}")
    return "\n".join(lines if found.roles else [*lines, "  no roles"])


def _before(found: Estate) -> str:
    if not found.others:
        return (
            "no other polity answers here: if there is none, this gives up the only one, with all its roles"
        )
    return (
        f"with --yes this node leaves that polity; done on all of {', '.join(found.same)} it is gone, and so "
        f"are these roles; {', '.join(found.others)} keep theirs"
    )


def _after(node: str, found: Estate) -> str:
    rest = [name for name in found.same if name != node]
    first = f"Now `polity dissolve --yes` on {', '.join(rest)}, then" if rest else "Now"
    where = found.others[0] if found.others else "a node of the other polity"
    return (
        f"{first} `polity voters sync` on {where}. "
        "Terms there are not those of the list: whatever was fenced with them must be told."
    )
