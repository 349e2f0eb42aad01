"""What a watcher is to do: the table [watch] of the configuration file, and the options of `polity watch`."""

from __future__ import annotations

from polity_cli.core.record import Record
from polity_cli.errors import BadConfiguration, BadInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


class WatchSettings(Record):
    """`roles` empty: all. Every `every_s` seconds a quorum is asked, whatever is heard in between."""

    roles: tuple[str, ...] = ()
    exec: str | None = None
    exec_timeout_s: float = 60.0
    webhook: str | None = None
    secret_file: str | None = None
    webhook_timeout_s: float = 10.0
    every_s: float = 15.0


_TEXTS = ("exec", "webhook", "secret_file")
_SECONDS = ("exec_timeout_s", "webhook_timeout_s", "every_s")


def check_url(url: str) -> str:
    """Return a webhook's address unchanged, or raise BadInput."""
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        good = False
    if not good or any(c.isspace() or not c.isprintable() for c in url):
        raise BadInput("that is no address of a webhook", hint="such as https://hooks.example.org/polity")
    if parts.username is not None or parts.password is not None:
        raise BadInput(
            "the webhook's address has a user or a password in it, for all to see who list processes",
            hint="leave it out: what is sent is signed, which proves who sends it",
        )
    return url


def from_table(table: object, path: str | None) -> WatchSettings:
    """The table [watch] of a file. Raises BadConfiguration."""

    def bad(what: str, hint: str) -> BadConfiguration:
        return BadConfiguration(f"in {path}, {what}", hint=hint)

    if not isinstance(table, dict):
        raise bad("watch must be a table", "write [watch] on a line of its own")
    given: Mapping[str, object] = table
    known = ("roles", *_TEXTS, *_SECONDS)
    for key in given:
        if key not in known:
            raise BadConfiguration(
                f"the configuration file {path} has an unknown setting 'watch.{key}'",
                hint=f"known ones in [watch]: {', '.join(known)}",
            )
    roles = given.get("roles", [])
    if not isinstance(roles, list) or not all(isinstance(role, str) for role in roles):
        raise bad("watch.roles must be a list of texts", 'write roles = ["backup", "primary"]')
    for key in _TEXTS:
        if key in given and (not isinstance(given[key], str) or not given[key]):
            raise bad(f"watch.{key} must be a text", f'write {key} = "..."')
    for key in _SECONDS:
        value = given.get(key, 1)
        if type(value) not in (int, float) or not 0 < value < 1e6:  # type: ignore[operator]
            raise bad(f"watch.{key} must be a number of seconds above 0, not {value!r}", f"write {key} = 60")
    if not given.get("exec") and not given.get("webhook"):
        raise bad("watch has nobody to tell", "give it exec, or webhook and secret_file")
    if ("webhook" in given) != ("secret_file" in given):
        raise bad("watch.webhook and watch.secret_file go together", "what is sent has to be signed")
    from polity_cli.core.tenure import check_role

    try:
        for role in roles:
            check_role(role)
        if "webhook" in given:
            check_url(str(given["webhook"]))
    except BadInput as error:
        raise bad(f"in [watch], {error}", error.hint) from error
    return WatchSettings()._replace(**{**given, "roles": tuple(roles)})  # type: ignore[arg-type]
