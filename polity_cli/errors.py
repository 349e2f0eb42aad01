"""Every error polity raises: one tree, each with its exit code and a hint of what to do next.

    PolityError                    1  unexpected
    ├── BadInput                   2  a role name, a rule or an option that cannot be used
    ├── LostElection               3  decided: another node holds the role
    ├── GuardFailed                3  decided: the holder or the term is not the one named
    ├── SlotTaken                  3  decided: the role was filled for that slot, or a later one, already
    ├── TermRefused                3  decided: the guard of a resource has seen a higher term
    ├── Busy                       3  another process on this node has what can be had once
    ├── RoleUnfilled               4  decided: nobody holds the role
    ├── NoQuorum                   5  too few voters answered, and nothing can take effect later
    ├── GuardBusy                  5  a command still runs under the guard of a resource
    ├── OutcomeUnknown             6  it may have taken effect, or may still do so
    ├── ElectionAborted          130  the caller gave up; says whether it may still take effect
    ├── SerfError                  7  the Serf agent
    │   ├── SerfUnreachable           nobody listens there, or the agent went away
    │   ├── SerfTimeout               it did not answer in time
    │   ├── SerfAuthError             it wants a token, or another one
    │   ├── SerfProtocolError         what it said is not Serf's RPC
    │   └── SerfRequestError          it refused the request, in its own words
    ├── NotStarted               126  a command to be guarded; 127 not found, 125 no memory or processes
    └── Unfit                      8  this node or the electorate
        ├── LedgerError               damaged, full, not writable, of a newer version, of another node
        ├── GuardError                a guard's state file: damaged, not one, not writable, the disk full
        ├── FoundingRefused           somebody is missing, or another founding is in the way
        ├── NotFounded                there is no polity yet
        ├── TwoPolities               two polities founded apart meet in one Serf cluster
        └── BadConfiguration          the configuration file or the environment

The left-hand errors are answers and are always true when raised. A time-out is never one of them:
whoever cannot know says NoQuorum (nothing was started) or OutcomeUnknown.
"""

from __future__ import annotations


class PolityError(Exception):
    """Base of all errors here. `hint` says what to do next; `exit_code` is what the commands exit with."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class BadInput(PolityError, ValueError):
    exit_code = 2


class SlotTaken(PolityError):
    """The role was filled for the slot, or for a later one: each is had once."""

    exit_code = 3


class LostElection(PolityError):
    """Another node holds the role: `holder`, in the term `term`."""

    exit_code = 3

    def __init__(self, message: str, *, holder: str, term: int, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.holder = holder
        self.term = term


class GuardFailed(PolityError):
    exit_code = 3


class TermRefused(PolityError):
    """A guard was shown `term`, and has seen `highest` before."""

    exit_code = 3

    def __init__(self, message: str, *, term: int, highest: int, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.term = term
        self.highest = highest


class Busy(PolityError):
    """Another process on this node has what can be had once."""

    exit_code = 3


class RoleUnfilled(PolityError):
    exit_code = 4


class NoQuorum(PolityError):
    exit_code = 5


class GuardBusy(PolityError):
    exit_code = 5


class OutcomeUnknown(PolityError):
    exit_code = 6


class ElectionAborted(PolityError):
    """The caller gave up. `may_take_effect` is False only if nothing of the operation can ever be decided."""

    exit_code = 130

    def __init__(self, message: str, *, may_take_effect: bool, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.may_take_effect = may_take_effect


class SerfError(PolityError):
    exit_code = 7


class SerfUnreachable(SerfError, ConnectionError):
    pass


class SerfTimeout(SerfError, TimeoutError):
    pass


class SerfAuthError(SerfError):
    pass


class SerfProtocolError(SerfError):
    pass


class SerfRequestError(SerfError):
    """The agent's own refusal; `str(error)` is its text, word for word."""


class NotStarted(PolityError):
    """A command could not be started; `exit_code` is the one that env(1) has for the reason."""

    exit_code = 126

    def __init__(self, message: str, exit_code: int, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.exit_code = exit_code


class Unfit(PolityError):
    exit_code = 8


class LedgerError(Unfit):
    pass


class GuardError(Unfit):
    pass


class FoundingRefused(Unfit):
    pass


class NotFounded(Unfit):
    pass


class TwoPolities(Unfit):
    pass


class BadConfiguration(Unfit):
    pass
