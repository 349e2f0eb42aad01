"""Where things are: the local agent, this node's memory, the namespace. Flags beat environment beats file.

Read by the hook for each query, so the configuration file is parsed only where the environment leaves
something open, and then with what the standard library has.
"""

from __future__ import annotations

import os

from polity_cli.core.record import Record
from polity_cli.errors import BadConfiguration, BadInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from polity_cli.core.succession import Succession
    from polity_cli.watch_settings import WatchSettings

DEFAULT_RPC_ADDR = "127.0.0.1:7373"
DEFAULT_NAMESPACE = "polity"


def namespace_words(namespace: str) -> str:
    """What a command has to be given beside for this namespace, in hints: nothing for the usual one."""
    return "" if namespace == DEFAULT_NAMESPACE else f" --namespace {namespace}"


# The names in the configuration file, and the environment variable that beats each.
_VARIABLES = {
    "rpc_addr": "SERF_RPC_ADDR",
    "rpc_auth_file": "",
    "state_dir": "POLITY_STATE_DIR",
    "namespace": "POLITY_NAMESPACE",
}
_NAMESPACE_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")


# Seconds, in the table [voters] of the configuration file.
_UPKEEP = ("tend_every_s", "leave_grace_s", "strike_failed_after_s")
# The tables of the configuration file.
_TABLES = ("voters", "watch", "roles")


class Upkeep(Record):
    """How the electorate is kept in line with the cluster, in seconds; see `upkeep.py`.

    `tend_every_s` 0: not at all. `strike_failed_after_s` None: failed nodes stay enrolled.
    """

    tend_every_s: float = 20.0
    leave_grace_s: float = 900.0
    strike_failed_after_s: float | None = None


class Settings(Record):
    """`rpc_auth` is the token itself or None; `config` the file that was read, or None.

    `watch` is what an agent is to watch and tell, or None; `roles` are those that it looks after.
    """

    rpc_addr: str
    rpc_auth: str | None
    state_dir: str
    namespace: str
    config: str | None
    upkeep: Upkeep = Upkeep()
    watch: WatchSettings | None = None
    roles: tuple[Succession, ...] = ()

    def succession_of(self, role: str) -> Succession | None:
        """What this node does about a role by its table [roles.ROLE], if it has one."""
        return next((succession for succession in self.roles if succession.role == role), None)


def load(
    *,
    rpc_addr: str | None = None,
    rpc_auth_file: str | None = None,
    state_dir: str | None = None,
    namespace: str | None = None,
    config: str | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Settings:
    """Settle every setting from flags, environment, file and defaults. Raises BadConfiguration, BadInput."""
    flags = {
        "rpc_addr": rpc_addr,
        "rpc_auth_file": rpc_auth_file,
        "state_dir": state_dir,
        "namespace": namespace,
    }
    given = {
        key: flags[key] or (environ.get(variable) if variable else None)
        for key, variable in _VARIABLES.items()
    }
    path, from_file, tables = _read_file(config, environ)
    given = {key: value or from_file.get(key) for key, value in given.items()}
    name = given["namespace"] or DEFAULT_NAMESPACE
    return Settings(
        rpc_addr=given["rpc_addr"] or DEFAULT_RPC_ADDR,
        rpc_auth=_token(flags["rpc_auth_file"], from_file.get("rpc_auth_file"), environ),
        state_dir=given["state_dir"] or _default_state_dir(environ),
        namespace=check_namespace(name),
        config=path,
        upkeep=_upkeep(tables.get("voters", {}), path, environ),
        watch=_watch(tables.get("watch"), path),
        roles=_roles(tables.get("roles", {}), path),
    )


def load_for_voter(environ: Mapping[str, str] = os.environ) -> tuple[str, str]:
    """State directory and namespace: all a voter needs, without a file where the environment has both."""
    state_dir, namespace = environ.get("POLITY_STATE_DIR"), environ.get("POLITY_NAMESPACE")
    if not state_dir or not namespace:
        _, from_file, *_ = _read_file(None, environ)
        state_dir = state_dir or from_file.get("state_dir") or _default_state_dir(environ)
        namespace = namespace or from_file.get("namespace") or DEFAULT_NAMESPACE
    return state_dir, check_namespace(namespace)


def has_roles(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether the configuration file has tables [roles.NAME], whatever is in them."""
    return bool(_read_file(None, environ)[2].get("roles"))


def check_namespace(name: str) -> str:
    """Return a usable namespace unchanged; it becomes the name of a query, of an event and of a tag."""
    if not 1 <= len(name) <= 32 or not _NAMESPACE_LETTERS.issuperset(name):
        raise BadInput(
            f"the namespace {name!r} cannot be used",
            hint="1 to 32 letters, digits, '-', '_' or '.', the same on every node",
        )
    return name


def _default_state_dir(environ: Mapping[str, str]) -> str:
    if os.geteuid() == 0:
        return "/var/lib/polity"
    return os.path.join(environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state"), "polity")


def _default_config(environ: Mapping[str, str]) -> str | None:
    home = environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    for path in ("/etc/polity/polity.toml", os.path.join(home, "polity", "polity.toml")):
        if os.path.exists(path):
            return path
    return None


def _read_file(
    config: str | None, environ: Mapping[str, str]
) -> tuple[str | None, dict[str, str], dict[str, dict[str, object]]]:
    """Which file was read, the texts in it, and its tables, which are unchecked."""
    path = config or environ.get("POLITY_CONFIG") or _default_config(environ)
    if path is None:
        return None, {}, {}
    import tomllib  # only where there is a file: the hook counts its milliseconds

    try:
        with open(path, "rb") as file:
            found = tomllib.load(file)
    except OSError as error:
        raise BadConfiguration(
            f"the configuration file {path} cannot be read: {error.strerror}",
            hint="name another with --config or POLITY_CONFIG, or check its rights",
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadConfiguration(f"the configuration file {path} is not TOML: {error}") from error
    tables = {name: found.pop(name) for name in _TABLES if name in found}
    for name, table in tables.items():
        if not isinstance(table, dict):
            line = "[roles.NAME]" if name == "roles" else f"[{name}]"
            raise BadConfiguration(
                f"in {path}, {name} must be a table", hint=f"write {line} on a line of its own"
            )
    for key in [*found, *(f"voters.{key}" for key in tables.get("voters", {}))]:
        if key not in (*_VARIABLES, *(f"voters.{name}" for name in _UPKEEP)):
            raise BadConfiguration(
                f"the configuration file {path} has an unknown setting {key!r}",
                hint=f"known ones: {', '.join(_VARIABLES)}; in [voters]: {', '.join(_UPKEEP)}; "
                "the tables [watch] and [roles.NAME]",
            )
    for key, value in found.items():
        if not isinstance(value, str) or not value:
            raise BadConfiguration(f"in {path}, {key} must be a text", hint=f'write {key} = "..."')
    return path, found, tables


def _watch(table: object, path: str | None) -> WatchSettings | None:
    """The table [watch]; what checks it is imported only where there is one."""
    if table is None:
        return None
    from polity_cli.watch_settings import from_table

    return from_table(table, path)


def _upkeep(given: dict[str, object], path: str | None, environ: Mapping[str, str]) -> Upkeep:
    """The table [voters], and POLITY_TEND, which beats its `tend_every_s`."""
    values = dict(given)
    from_environment = environ.get("POLITY_TEND")
    if from_environment is not None:
        try:
            values["tend_every_s"] = float(from_environment)
        except ValueError:
            values["tend_every_s"] = from_environment
    for key, value in values.items():
        if type(value) not in (int, float) or not 0 <= value < 1e9:  # type: ignore[operator]
            where = "POLITY_TEND" if key == "tend_every_s" and from_environment is not None else path
            raise BadConfiguration(
                f"in {where}, {key} must be a number of seconds, not {value!r}", hint=f"write {key} = 60"
            )
    return Upkeep()._replace(**values)  # type: ignore[arg-type]


def _roles(tables: dict[str, object], path: str | None) -> tuple[Succession, ...]:
    if not tables:
        return ()
    from polity_cli.core.succession_settings import successions  # few have any

    return successions(tables, path or "")


def _token(flag: str | None, from_file: str | None, environ: Mapping[str, str]) -> str | None:
    """The RPC token: from the flag's file, from SERF_RPC_AUTH, or from the configuration's file."""
    if not flag and environ.get("SERF_RPC_AUTH"):
        return environ["SERF_RPC_AUTH"]
    path = flag or from_file
    if not path:
        return None
    try:
        with open(path, encoding="utf-8") as file:
            token = file.read().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BadConfiguration(
            f"the file with Serf's RPC token cannot be read: {path}: {error}",
            hint="it holds the token alone, on one line, readable by this user",
        ) from error
    if not token:
        raise BadConfiguration(f"the file with Serf's RPC token is empty: {path}")
    return token
