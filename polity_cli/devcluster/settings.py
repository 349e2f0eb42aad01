"""What the nodes of a cluster have in common, and what of it each Serf agent and each process is told."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from polity_cli.errors import Unfit

Voters = Literal["hook", "agent", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """`voters` says who votes for a node: Serf's event handler, a `polity agent`, or nobody (no voter tag).

    `handler` is a shell command (None: polity's own hook), `agent_command` an argument vector. `env` is added
    to the environment of every process, `serf_config` to the configuration of every agent; both have the last
    word.
    """

    voters: Voters = "hook"
    namespace: str = "polity"
    rpc_auth: str | None = None
    handler: str | None = None
    agent_command: Sequence[str] = (sys.executable, "-m", "polity_cli", "agent")
    log_level: str = "info"
    serf_config: Mapping[str, Any] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)

    def agent_config(self, name: str, *, bind_addr: str, rpc_addr: str, snapshot: Path) -> dict[str, Any]:
        """The JSON object for `serf agent -config-file`; raises Unfit when polity's hook is not installed."""
        config: dict[str, Any] = {
            "node_name": name,
            "bind": bind_addr,
            "rpc_addr": rpc_addr,
            "snapshot_path": str(snapshot),
            "log_level": self.log_level,
        }
        if self.rpc_auth is not None:
            config["rpc_auth"] = self.rpc_auth
        if self.voters != "none":
            config["tags"] = {self.namespace: "voter"}
        if self.voters == "hook":
            handler = self.handler if self.handler is not None else _installed_hook()
            config["event_handlers"] = [f"{kind}:{self.namespace}={handler}" for kind in ("query", "user")]
        return config | dict(self.serf_config)

    def environment(self, *, rpc_addr: str, state_dir: Path) -> dict[str, str]:
        """The environment in which commands, hook and agent meet one node and no other.

        It is ours without what is said there about Serf and polity: a developer's settings change no test.
        """
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("SERF_", "POLITY_"))}
        scripts = str(Path(sys.executable).parent)
        mine = {
            "PATH": os.pathsep.join([scripts, inherited.get("PATH", os.defpath)]),
            "SERF_RPC_ADDR": rpc_addr,
            "POLITY_STATE_DIR": str(state_dir),
            "POLITY_NAMESPACE": self.namespace,
            "POLITY_CONFIG": os.devnull,
            # Whoever plays with a cluster changes its electorate himself, unless `env` says otherwise.
            "POLITY_TEND": "0",
        }
        if self.rpc_auth is not None:
            mine["SERF_RPC_AUTH"] = self.rpc_auth
        return inherited | mine | dict(self.env)


def _installed_hook() -> str:
    """The shell command for polity's hook: the script beside this interpreter, else the first in the PATH."""
    script = Path(sys.executable).parent / "polity-hook"
    found = str(script) if script.exists() else shutil.which("polity-hook")
    if found is None:
        raise Unfit(
            f"the event handler that votes is not installed: there is no {script}",
            hint=f"install polity into this environment: {sys.executable} -m pip install polity",
        )
    return shlex.quote(str(Path(found).absolute()))
