"""`polity watch [ROLE...]`."""

from __future__ import annotations

import sys

import click

from polity_cli.cli.common import Command, with_where

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn, TypeVar

    from polity_cli.edges.spool import RoleChange
    from polity_cli.watch import Watch

    F = TypeVar("F", bound=Callable[..., object])

_LOOK_S = 1.0
_PARTING_S = 12.0


def _seconds(name: str, default: float, text: str) -> Callable[[F], F]:
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
    exits=(2, 3, 7, 8, 130),
    meanings={
        0: "yes: told, until standard output was closed",
        3: "another watcher uses FILE",
        130: "interrupted (143 by SIGTERM), which is how it ends",
    },
    example="polity watch primary --state /var/lib/polity/primary.watch --exec 'logger $POLITY_HOLDER'",
)
@click.argument("roles", metavar="[ROLE...]", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="A JSON object on a line for each change.")
@click.option("--state", metavar="FILE", help="Go on from there: what was delivered, and what was not yet.")
@click.option(
    "--since",
    metavar="ROLE=TERM",
    multiple=True,
    help="Tell of terms after that one; for roles of which FILE knows nothing.",
)
@_seconds("--every", 15.0, "How often a quorum is asked, whatever was heard.")
@click.option("--exec", "command", metavar="CMD", help="Have a shell run CMD for each change.")
@_seconds("--exec-timeout", 60.0, "How long CMD may run before it is ended and tried again.")
@click.option("--webhook", metavar="URL", help="Send each change there by POST.")
@click.option("--webhook-secret-file", metavar="FILE", help="The secret by which what is sent is signed.")
@_seconds("--webhook-timeout", 10.0, "How long an answer is waited for.")
@click.option("--no-events", is_flag=True, help="Only ask, hear nothing: see `docs/watching.md`.")
@with_where
def watch(
    roles: tuple[str, ...],
    as_json: bool,
    state: str | None,
    since: tuple[str, ...],
    every: float,
    command: str | None,
    exec_timeout: float,
    webhook: str | None,
    webhook_secret_file: str | None,
    webhook_timeout: float,
    no_events: bool,
    rpc_addr: str | None,
    rpc_auth_file: str | None,
    state_dir: str | None,
    namespace: str | None,
    config: str | None,
) -> None:
    """Tell who holds each ROLE (without any: all roles), and again whenever that has changed.

    It begins with what is so now. Each change is told at least once, and those of one role in order; what
    a quorum says is told, and only that. A role's terms grow but may jump: of tenures that followed each
    other quickly only the last may be seen.

    With --state it goes on where it was after any end, a kill -9 as well. --exec and --webhook need that.
    CMD finds POLITY_ROLE, POLITY_TERM, POLITY_HOLDER (empty where vacant) and POLITY_NODE in its environment;
    it is run again until it ends with 0. URL is sent signed JSON again until it answers with 2xx.
    """
    from polity_cli.edges.sinks import LineSink
    from polity_cli.edges.webhook import read_secret
    from polity_cli.settings import load
    from polity_cli.watch import Watch, asking
    from polity_cli.watch_settings import WatchSettings, check_url

    for role in roles:
        _check(role)
    after = dict(_since(one, roles) for one in since)
    if state is None and (command or webhook):
        raise click.UsageError("--exec and --webhook need --state FILE, where it stands what was delivered")
    if (webhook is None) != (webhook_secret_file is None):
        raise click.UsageError("--webhook and --webhook-secret-file go together")
    if webhook is not None and webhook_secret_file is not None:
        check_url(webhook)
        read_secret(webhook_secret_file)
    settings = load(
        rpc_addr=rpc_addr,
        rpc_auth_file=rpc_auth_file,
        state_dir=state_dir,
        namespace=namespace,
        config=config,
    )
    plan = WatchSettings(
        roles=roles,
        exec=command,
        exec_timeout_s=exec_timeout,
        webhook=webhook,
        secret_file=webhook_secret_file,
        webhook_timeout_s=webhook_timeout,
        every_s=every,
    )
    from polity_cli.cli.running import leave, say
    from polity_cli.edges.serf_rpc import SerfClient
    from polity_cli.session import node_name

    # Where there is no standard output, 1 may be any file.
    lines = None if sys.stdout is None else LineSink(1, _as_json if as_json else _as_text)
    if lines is None and not command and not webhook:
        leave(0)
    signals = _Signals()
    # Whoever mistypes an address is told so at once; later an agent may be away for as long as it likes.
    with SerfClient.connect(settings.rpc_addr, auth_key=settings.rpc_auth) as serf:
        node = node_name(serf)
    told = Watch(
        plan,
        node=node,
        ask=asking(settings, lambda: signals.first != 0),
        say=lambda text: say(f"polity: {text}"),
        state=state,
        since=after,
        lines=lines,
    )
    hearing = None
    if not no_events:
        from threading import Thread

        from polity_cli.watch import hear

        hearing = Thread(
            target=hear,
            args=(settings, node, told.bell),
            kwargs={"stop": told.stopping, "say": lambda text: say(f"polity: {text}")},
            daemon=True,
        )
        hearing.start()
    told.start()
    signals.wait_while(lambda: told.failure is None)
    _end(told, signals.first, hearing.join if hearing is not None else None)


def _end(told: Watch, number: int, join: Callable[[float], None] | None) -> NoReturn:
    from polity_cli.cli.running import leave
    from polity_cli.edges.sinks import Gone

    failure = told.failure
    told.close()
    if join is not None:
        join(_PARTING_S)
    if number:
        leave(128 + number)
    if isinstance(failure, Gone):
        leave(0)  # somebody who closed it has heard enough
    assert failure is not None
    raise failure


class _Signals:
    """SIGINT and SIGTERM: `first` is the first that came. A second one ends the process at once."""

    def __init__(self) -> None:
        import os
        import signal

        self.first = 0
        self._woken, woken = os.pipe()
        os.set_blocking(woken, False)
        signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._came)

    def wait_while(self, is_well: Callable[[], bool]) -> None:
        """Until a signal came, or all is not well."""
        import select

        while not self.first and is_well():
            select.select([self._woken], [], [], _LOOK_S)

    def _came(self, number: int, _: object) -> None:
        import os

        if self.first:
            os._exit(128 + number)
        self.first = number


def _check(role: str) -> str:
    from polity_cli.core.tenure import check_role

    return check_role(role)


def _since(text: str, roles: tuple[str, ...]) -> tuple[str, int]:
    """A role and a term; the name may have a '=' in it."""
    from polity_cli.core.tenure import MAX_TERM

    role, _, term = text.rpartition("=")
    if not role or not (term.isascii() and term.isdigit()) or int(term) > MAX_TERM:
        raise click.UsageError(f"--since {text}: write a role and a term, such as --since backup=7")
    if roles and role not in roles:
        raise click.UsageError(f"--since {text}: {role} is not among the roles that are watched")
    return _check(role), int(term)


def _as_json(change: RoleChange) -> str:
    import json

    return json.dumps(change.data())


def _as_text(change: RoleChange) -> str:
    from polity_cli.cli.output import sentence
    from polity_cli.core.tenure import Tenure

    return f"{change.seen} {sentence(change.role, Tenure(change.term, change.holder, b''))}"
