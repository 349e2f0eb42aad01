"""`polity agent`."""

from __future__ import annotations

import click

from polity_cli.cli.common import Command, with_where


@click.command(
    cls=Command,
    exits=(2, 7, 8),
    example="polity agent --state-dir /var/lib/polity",
)
@with_where
def agent(
    rpc_addr: str | None,
    rpc_auth_file: str | None,
    state_dir: str | None,
    namespace: str | None,
    config: str | None,
) -> None:
    """Vote, in the foreground, until SIGTERM or SIGINT, which end it with 0.

    Beside that it keeps the electorate in line with the cluster, and looks after the roles for which the
    configuration has a table [roles.NAME]. Survives restarts of the Serf agent, and tells systemd when it is
    ready (Type=notify).
    """
    from polity_cli.agent import run
    from polity_cli.settings import load

    run(
        load(
            rpc_addr=rpc_addr,
            rpc_auth_file=rpc_auth_file,
            state_dir=state_dir,
            namespace=namespace,
            config=config,
        )
    )
