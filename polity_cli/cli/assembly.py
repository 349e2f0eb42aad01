"""The electorate as a table, and what to do about what is not as it should be."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from polity_cli.core.electorate import Roll
    from polity_cli.registrar import Assembly, Enrolment


def describe_assembly(assembly: Assembly) -> str:
    """The electorate as a table with a headline."""
    from polity_cli.cli.running import plain

    electorate = assembly.electorate
    head = (
        f"{counted(electorate.current.n, 'voter')}, quorum {assembly.quorum} ({electorate.current.rule}), "
        f"electorate {electorate.epoch} of polity {electorate.polity.hex()}"
    )
    if electorate.is_joint:
        head += f"\nCHANGING to {size_of(electorate.goal)}; until then both decide together"
    width = max(len(plain(row.node)) for row in assembly.voters)
    rows = [
        f"  {plain(row.node):{width}}  {row.status:8}  {_word(row):8}  "
        f"{row.voter}{'' if row.enrolled else '  not enrolled: its votes do not count'}"
        f"{'  joins' if row.joins else ''}{'  leaves' if row.leaves else ''}"
        for row in assembly.voters
    ]
    answering = sum(row.enrolled and row.answers for row in assembly.voters)
    spare = spare_of(assembly)
    if spare < 0:
        state = f"NO QUORUM: {answering} answer, {assembly.quorum} are needed"
        if electorate.is_joint:
            state = f"NO QUORUM: {answering} answer, a quorum of the old and one of the new are needed"
    elif spare == 0:
        state = f"{answering} answer; none of them may fail"
    else:
        state = f"{answering} answer; {spare} of them may still fail"
    return "\n".join([head, *rows, state])


def _word(row: Enrolment) -> str:
    if row.set_back:
        return "SET BACK"
    return "answers" if row.answers else "silent"


def spare_of(assembly: Assembly) -> int:
    """How many of those that answer are not needed; below 0, how many are missing."""
    present = {bytes.fromhex(row.voter) for row in assembly.voters if row.enrolled and row.answers}
    return min(roll.count(present) - roll.q for roll in assembly.electorate.rolls)


def advice_on(assembly: Assembly, spare: int) -> str:
    """What to do about what is not as it should be, if anything is not."""
    from polity_cli.cli.found import advice
    from polity_cli.core.witness import way_out

    enrolled = {row.node: row for row in assembly.voters if row.enrolled}
    others = [row for row in assembly.voters if not row.enrolled and not row.set_back]
    set_back = [row.node for row in assembly.voters if row.set_back]
    ids = {row.voter: row.node for row in assembly.voters if row.enrolled}
    copies = [row.node for row in others if row.voter in ids]
    changed = [row.node for row in others if row.node in enrolled and row.voter not in ids]
    strangers = [row.node for row in others if row.node not in enrolled and row.voter not in ids]
    silent = [
        node
        for node, row in enrolled.items()
        if not row.answers and row.status == "alive" and node not in (*changed, *set_back)
    ]
    gone = [node for node, row in enrolled.items() if not row.answers and row.status != "alive"]
    said = []
    if assembly.electorate.is_joint:
        said.append("The electorate is changing: `polity voters sync` on any node finishes that.")
    if set_back:
        said.append(f"{way_out(set_back)}.")
    if copies:
        said.append(
            f"{', '.join(copies)}: a copy of another node's ledger. Stop that voter and move its ledger "
            "away; it then comes back as a voter of its own."
        )
    if changed:
        said.append(
            f"{', '.join(changed)}: another ledger than the one enrolled. If that was only moved, move it "
            "back; if it is lost, `polity voters sync` enrols the node anew. Never bring back an old copy."
        )
    if strangers and spare >= 0:
        said.append(f"{', '.join(strangers)}: not enrolled. `polity voters sync` enrols all that answer.")
    if silent:
        said.append(f"{', '.join(silent)}: alive, but the voter is silent. Run `polity doctor` there.")
    if gone and spare <= 0:
        word = "remove" if spare == 0 else "rescue --help"
        said.append(
            f"{', '.join(gone)}: bring back, with the ledger; the votes are safe there. "
            f"{'One' if spare == 0 else 'A majority'} gone for good: `polity voters {word}`."
        )
    if not said:
        return advice(assembly.electorate)
    return " ".join(said)


def counted(many: int, what: str) -> str:
    """A number of things in words."""
    return f"{many} {what}{'' if many == 1 else 's'}"


def size_of(roll: Roll) -> str:
    """A roll in words."""
    return f"{counted(roll.n, 'voter')}, quorum {roll.q} ({roll.rule}), {roll.n - roll.q or 'none'} may fail"
