"""What came of an operation in words: the errors that tell it to an operator, with what to do next."""

from __future__ import annotations

from polity_cli.core import founding
from polity_cli.core.change_state import Outcome as ChangeOutcome
from polity_cli.core.change_state import Verdict as ChangeVerdict
from polity_cli.core.operation import Outcome, Purpose, Verdict
from polity_cli.errors import (
    FoundingRefused,
    GuardFailed,
    LostElection,
    NoQuorum,
    OutcomeUnknown,
    PolityError,
    RoleUnfilled,
    SlotTaken,
    Unfit,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from polity_cli.core.electorate import Electorate
    from polity_cli.core.tenure import Tenure


def error_of(order: tuple[Purpose, str], outcome: Outcome, electorate: Electorate) -> PolityError | None:
    """The error that tells this outcome of an operation on a role; None where it is a plain yes."""
    purpose, role = order
    tenure = outcome.tenure
    silent = ", ".join(outcome.silent)
    match outcome.verdict:
        case Verdict.LOST:
            assert tenure is not None
            assert tenure.holder is not None
            return LostElection(
                f"{tenure.holder} holds {role} (term {tenure.term})",
                holder=tenure.holder,
                term=tenure.term,
                hint=f"fine if that is as it should be; else `polity recall {shell_word(role)}` empties it",
            )
        case Verdict.TAKEN:
            assert tenure is not None
            return slot_taken(role, tenure)
        case Verdict.GUARD:
            assert tenure is not None
            return GuardFailed(
                f"{role} is held by {tenure.holder} in term {tenure.term}, so nothing was recalled",
                hint="the holder or the term is not the one you named",
            )
        case Verdict.VACANT:
            return RoleUnfilled(f"nobody holds {role}", hint=f"`polity elect {shell_word(role)}` fills it")
        case Verdict.NO_QUORUM:
            return NoQuorum(
                f"no quorum for {role}: {outcome.required} of {outcome.population} voters are needed"
                + (f"; no answer from {silent}" if silent else ""),
                hint="nothing of this command can take effect later: try again freely; see `polity voters`",
            )
        case Verdict.UNKNOWN:
            doing = "candidacy" if purpose is Purpose.ELECT else "recall"
            why = f"; no answer from {silent}" if silent else ""
            if tenure is not None:
                why = f"; the role has gone on to term {tenure.term} since"
            return OutcomeUnknown(
                f"it is not known whether the {doing} for {role} took effect{why}",
                hint=f"it is on record with some voters: whoever asks next with a quorum completes it or "
                f"discards it. Ask `polity who {shell_word(role)}` once {electorate.current.q} voters answer",
            )
    return None


def slot_taken(role: str, tenure: Tenure) -> SlotTaken:
    """The error that tells that nobody can have a slot any more: `tenure` is of it, or of a later one."""
    by = f", and {tenure.holder} holds it" if tenure.holder else ""
    return SlotTaken(
        f"{role} was filled for the slot {tenure.slot} already (term {tenure.term}{by})",
        hint="each slot is had once, in order: nothing is left to do, unless a clock or a slot is wrong",
    )


def error_of_founding(outcome: founding.Outcome, status: Mapping[str, str], namespace: str) -> PolityError:
    """The error that tells why a polity was not founded; `status` is Serf's word for each node called."""

    def say(names: tuple[str, ...]) -> str:
        return ", ".join(f"{n} ({status[n]})" if n in status else n for n in names)

    match outcome.verdict:
        case founding.Verdict.UNKNOWN:
            return OutcomeUnknown(
                f"the polity may be founded or not: no acceptance seen from {say(outcome.missing)}",
                hint="run `polity found` again: it completes this founding or finds it completed",
            )
        case founding.Verdict.CLONED if len(outcome.missing) == 1:
            return FoundingRefused(
                f"{outcome.missing[0]} answers with two voter ids",
                hint="two ledgers are in use there: hook and agent must have the same POLITY_STATE_DIR",
            )
        case founding.Verdict.CLONED:
            return FoundingRefused(
                f"these nodes have one and the same voter id: {', '.join(outcome.missing)}",
                hint="one ledger was copied; move the copy's ledger away, then found again",
            )
        case founding.Verdict.CLASH if outcome.other is None:
            return FoundingRefused(
                "another founding is under way and did not end in time",
                hint="wait for it, or run `polity found` again",
            )
        case founding.Verdict.CLASH:
            theirs = ", ".join(e.node for e in outcome.other.voters) if outcome.other else ""
            return FoundingRefused(
                f"a founding with other voters may have been completed: {theirs}; "
                f"this one wants {', '.join(outcome.mine)}",
                hint="bring all of them into this cluster and found again, or move the ledgers of the "
                "nodes that are in the way",
            )
    return FoundingRefused(
        f"no answer from {say(outcome.missing)}; all {len(outcome.mine)} nodes with the voters' "
        "tag must answer a founding",
        hint="start the voter there (`polity doctor` on that node tells what it lacks). A node "
        f"that is not to vote must not carry the tag {namespace}=voter; one gone for good "
        "is removed with `serf force-leave -prune NODE`",
    )


def error_of_change(outcome: ChangeOutcome, *, in_doubt: bool) -> PolityError:
    """The error that tells why the electorate is not what it was to become.

    `in_doubt`: something was proposed before, of which it is not known what became.
    """
    roll = outcome.electorate.current
    silent = f"; no answer from {', '.join(outcome.silent)}" if outcome.silent else ""
    match outcome.verdict:
        case ChangeVerdict.NO_QUORUM if not in_doubt:
            return NoQuorum(
                f"no quorum for a change of the electorate: {roll.q} of {roll.n} voters are needed{silent}",
                hint="nothing of this command can take effect later: try again freely; see `polity voters`",
            )
        case ChangeVerdict.UNFINISHED:
            return OutcomeUnknown(
                f"the electorate is changing and not through yet{silent}",
                hint="until then everything takes a quorum of the old and of the new voters. "
                "Run `polity voters sync` on any node: it finishes what was begun",
            )
    return change_in_doubt(silent)


def change_in_doubt(silent: str = "") -> OutcomeUnknown:
    """The error of a change that was proposed, of which it is not known what became."""
    return OutcomeUnknown(
        f"it is not known whether the change was decided{silent}",
        hint="run the same command again: it finishes what was begun, then does what is left",
    )


def blocked(answer: int, population: int, needed: int) -> Unfit:
    """The error of a change that would leave too few voters answering."""
    return Unfit(
        f"not done: {answer} of the {population} voters there would be answer, "
        f"{needed} are needed; nothing could be decided until {needed - answer} more do",
        hint="start their voters first: `polity voters` shows who is silent",
    )


def shell_word(role: str) -> str:
    """A role's name as a shell and the commands want it."""
    plain = all(c.isalnum() or c in "-_./" for c in role)
    word = role if plain else "'" + role.replace("'", "'\\''") + "'"
    return f"-- {word}" if role.startswith("-") else word
