"""`polity succeed`."""

from __future__ import annotations

import click

from polity_cli.cli.common import Command, with_where


@click.command(
    cls=Command,
    exits=(2, 7, 8, 130),
    example="polity succeed",
)
@with_where
def succeed(
    rpc_addr: str | None,
    rpc_auth_file: str | None,
    state_dir: str | None,
    namespace: str | None,
    config: str | None,
) -> None:
    """Do about the roles of the configuration what `polity agent` does, until nothing is left to do.

    That is for each table [roles.NAME]: stand for a vacant role, and recall it first if its holder was gone
    for `takeover_delay`. Ends when each role is held by a node that is there, or is not for this node to see
    to. The hook starts it when nodes come or go. One runs on a node at a time, and none beside an agent:
    others end at once.
    """
    from polity_cli.cli.running import leave, say
    from polity_cli.settings import load
    from polity_cli.succession import Heir

    settings = load(
        rpc_addr=rpc_addr,
        rpc_auth_file=rpc_auth_file,
        state_dir=state_dir,
        namespace=namespace,
        config=config,
    )
    if not settings.roles:
        say("polity: there are no roles to look after: the configuration has no table [roles.NAME]")
    patience = _Patience()
    heir = Heir(settings, wait=patience.wait, log=lambda text: say(f"polity: {text}"))
    if not heir.once():
        say("polity: somebody on this node looks after the roles already")
    leave(128 + patience.signal if patience.signal else 0)


class _Patience:
    """Waits, and knows of a signal that came meanwhile."""

    def __init__(self) -> None:
        import signal
        import threading

        self.signal = 0
        self._stopped = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._signalled)

    def _signalled(self, number: int, _: object) -> None:
        self.signal = number
        self._stopped.set()

    def wait(self, seconds: float) -> bool:
        return self._stopped.wait(seconds)
