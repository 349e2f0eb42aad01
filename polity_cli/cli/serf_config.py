"""`polity serf-config`."""

from __future__ import annotations

import json
import os
import shutil
import sys

import click

from polity_cli.cli.common import Command, with_where
from polity_cli.errors import BadConfiguration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from polity_cli.settings import Settings

_MEMBER_EVENTS = "member-join,member-failed,member-leave,member-reap"


@click.command(
    "serf-config",
    cls=Command,
    exits=(2, 8),
    example="polity serf-config > /etc/serf/polity.json",
)
@click.option("--agent", "for_agent", is_flag=True, help="For nodes where `polity agent` runs: no handlers.")
@with_where
def serf_config(
    for_agent: bool,
    rpc_addr: str | None,
    rpc_auth_file: str | None,
    state_dir: str | None,
    namespace: str | None,
    config: str | None,
) -> None:
    """Print what makes a node a voter, as JSON for `serf agent -config-file`.

    That is the tag by which voters are known and, unless --agent, the event handler that votes; with tables
    [roles.NAME] in the configuration also the one that has roles looked after when nodes come or go. Serf
    merges several files given to it. Needs no running agent.
    """
    from polity_cli.cli.running import Answer, end
    from polity_cli.settings import load

    settings = load(
        rpc_addr=rpc_addr,
        rpc_auth_file=rpc_auth_file,
        state_dir=state_dir,
        namespace=namespace,
        config=config,
    )
    found: dict[str, object] = {"tags": {settings.namespace: "voter"}}
    if not for_agent:
        handler = handler_command(settings)
        handlers = [f"{kind}:{settings.namespace}={handler}" for kind in ("query", "user")]
        if settings.roles:
            handlers.append(f"{_MEMBER_EVENTS}={_with_config(settings)}{handler}")
        found["event_handlers"] = handlers
    end(Answer({}, json.dumps(found, indent=2)), 0, as_json=False)


def _with_config(settings: Settings) -> str:
    """Where the tables are that the hook has to find."""
    import shlex

    return f"POLITY_CONFIG={shlex.quote(os.path.abspath(settings.config))} " if settings.config else ""


def hook_path() -> str | None:
    """The installed polity-hook's absolute path: beside this interpreter, else the first in the PATH."""
    beside = os.path.join(os.path.dirname(os.path.abspath(sys.executable)), "polity-hook")
    found = beside if os.access(beside, os.X_OK) else shutil.which("polity-hook")
    return None if found is None else os.path.abspath(found)


def handler_command(settings: Settings) -> str:
    """The shell command for the handler, with the settings that its environment would not give it.

    Both are always said: the default directory depends on whose environment it is, and a hook that has both
    need not read the configuration file for each query.
    """
    import shlex

    path = hook_path()
    if path is None:
        raise BadConfiguration(
            "polity-hook is not installed beside this program",
            hint="install the package with pip or pipx, which puts polity-hook in place",
        )
    given = {
        "POLITY_STATE_DIR": os.path.abspath(settings.state_dir),
        "POLITY_NAMESPACE": settings.namespace,
    }
    words = [f"{name}={shlex.quote(value)}" for name, value in given.items()]
    return " ".join([*words, shlex.quote(path)])
