"""Where settings come from, which of them win, and what is said of those that cannot be used."""

from __future__ import annotations

import builtins
import os
import tomllib
from pathlib import Path

import pytest

from polity_cli import settings
from polity_cli.core.succession import Succession
from polity_cli.errors import BadConfiguration, BadInput

ALL = """
rpc_addr = "10.0.0.3:7373"
state_dir = "/from/file"
namespace = "from-file"
"""


@pytest.fixture
def write(tmp_path: Path) -> Path:
    """A configuration file with everything but the token."""
    path = tmp_path / "polity.toml"
    path.write_text(ALL)
    return path


@pytest.fixture
def bare(tmp_path: Path) -> dict[str, str]:
    """An environment without any settings, and without a configuration file in the user's home."""
    return {"XDG_CONFIG_HOME": str(tmp_path / "no-config"), "XDG_STATE_HOME": str(tmp_path / "state")}


def load_text(tmp_path: Path, text: str | bytes) -> settings.Settings:
    path = tmp_path / "polity.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return settings.load(config=str(path), environ={})


# Who wins.


@pytest.mark.parametrize(
    ("key", "variable"),
    [("rpc_addr", "SERF_RPC_ADDR"), ("state_dir", "POLITY_STATE_DIR"), ("namespace", "POLITY_NAMESPACE")],
)
def test_a_flag_beats_the_environment_and_that_beats_the_file(write: Path, key: str, variable: str) -> None:
    file_only = settings.load(config=str(write), environ={})
    assert getattr(file_only, key) in ALL
    environ = {variable: "from-environment"}
    assert getattr(settings.load(config=str(write), environ=environ), key) == "from-environment"
    flags = {key: "from-flag"}
    chosen = settings.load(config=str(write), environ=environ, **flags)
    assert getattr(chosen, key) == "from-flag"


def test_without_anything_there_are_defaults(bare: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os.path, "exists", lambda path: False)
    chosen = settings.load(environ=bare)
    assert (chosen.rpc_addr, chosen.namespace) == ("127.0.0.1:7373", "polity")
    assert (chosen.rpc_auth, chosen.config) == (None, None)


@pytest.mark.parametrize(("uid", "expected"), [(0, "/var/lib/polity"), (1000, "/state/of/user/polity")])
def test_the_memory_of_a_user_is_apart_from_that_of_the_machine(
    monkeypatch: pytest.MonkeyPatch, uid: int, expected: str
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    chosen = settings.load(config=os.devnull, environ={"XDG_STATE_HOME": "/state/of/user"})
    assert chosen.state_dir == expected


def test_an_empty_variable_is_as_good_as_none(write: Path) -> None:
    environ = {"SERF_RPC_ADDR": "", "POLITY_STATE_DIR": "", "POLITY_NAMESPACE": "", "SERF_RPC_AUTH": ""}
    chosen = settings.load(config=str(write), environ=environ)
    assert (chosen.rpc_addr, chosen.state_dir, chosen.namespace) == (
        "10.0.0.3:7373",
        "/from/file",
        "from-file",
    )
    assert chosen.rpc_auth is None


def test_the_file_is_the_flags_then_the_environments_then_the_users(
    tmp_path: Path, bare: dict[str, str]
) -> None:
    home = Path(bare["XDG_CONFIG_HOME"]) / "polity"
    home.mkdir(parents=True)
    paths = {name: home / f"{name}.toml" for name in ("flag", "environment", "polity")}
    for name, path in paths.items():
        path.write_text(f'namespace = "{name}"')
    environ = {**bare, "POLITY_CONFIG": str(paths["environment"])}
    assert settings.load(config=str(paths["flag"]), environ=environ).namespace == "flag"
    assert settings.load(environ=environ).namespace == "environment"
    if not os.path.exists("/etc/polity/polity.toml"):
        chosen = settings.load(environ=bare)
        assert (chosen.namespace, chosen.config) == ("polity", str(paths["polity"]))


# A file that cannot be used.


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('namespac = "x"', "unknown setting 'namespac'"),
        ('[namespace]\nname = "x"', "namespace must be a text"),
        ("rpc_addr = 7373", "rpc_addr must be a text"),
        ('state_dir = ""', "state_dir must be a text"),
        ("state_dir = [1]", "state_dir must be a text"),
        ("namespace = polity", "is not TOML"),
        ('namespace = "a"\nnamespace = "b"', "is not TOML"),
        (b'namespace = "\xff"', "is not TOML"),
        (b"\xff\xfe\x00n", "is not TOML"),
    ],
)
def test_what_is_wrong_in_the_file_is_named_together_with_the_file(
    tmp_path: Path, text: str | bytes, said: str
) -> None:
    with pytest.raises(BadConfiguration, match=said) as caught:
        load_text(tmp_path, text)
    assert str(tmp_path / "polity.toml") in str(caught.value)
    assert caught.value.exit_code == 8


def test_an_unknown_setting_comes_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(BadConfiguration) as caught:
        load_text(tmp_path, 'color = "blue"')
    assert "rpc_addr, rpc_auth_file, state_dir, namespace" in caught.value.hint


@pytest.mark.parametrize("by_flag", [True, False])
def test_a_named_file_that_is_missing_is_an_error(tmp_path: Path, by_flag: bool) -> None:
    path = str(tmp_path / "missing.toml")
    with pytest.raises(BadConfiguration, match="cannot be read: No such file") as caught:
        settings.load(config=path if by_flag else None, environ={} if by_flag else {"POLITY_CONFIG": path})
    assert "--config" in caught.value.hint


def test_a_folder_in_the_place_of_the_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BadConfiguration, match="cannot be read"):
        settings.load(config=str(tmp_path), environ={})


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_the_right_to_read_it_is_an_error(write: Path) -> None:
    write.chmod(0)
    with pytest.raises(BadConfiguration, match="cannot be read: Permission denied"):
        settings.load(config=str(write), environ={})


def test_an_empty_file_is_fine(tmp_path: Path) -> None:
    assert load_text(tmp_path, "").namespace == "polity"


# The token.


def token_of(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def test_the_token_comes_from_the_flags_file_then_the_environment_then_the_settings_file(
    tmp_path: Path,
) -> None:
    config = tmp_path / "polity.toml"
    in_file = token_of(tmp_path / "file", " from file\n")
    config.write_text(f'rpc_auth_file = "{in_file}"')
    flag = token_of(tmp_path / "flag", "from flag\n")
    environ = {"SERF_RPC_AUTH": "from environment"}
    assert settings.load(config=str(config), environ={}).rpc_auth == "from file"
    assert settings.load(config=str(config), environ=environ).rpc_auth == "from environment"
    chosen = settings.load(rpc_auth_file=flag, config=str(config), environ=environ)
    assert chosen.rpc_auth == "from flag"


@pytest.mark.parametrize(
    ("content", "said"), [(None, "cannot be read"), (b"\xff", "cannot be read"), (b" \n", "is empty")]
)
@pytest.mark.parametrize("by_flag", [True, False])
def test_a_token_file_that_holds_none_is_an_error_and_no_anonymous_connection(
    tmp_path: Path, content: bytes | None, said: str, by_flag: bool
) -> None:
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content)
    config = tmp_path / "polity.toml"
    config.write_text("" if by_flag else f'rpc_auth_file = "{path}"')
    with pytest.raises(BadConfiguration, match=said) as caught:
        settings.load(rpc_auth_file=str(path) if by_flag else None, config=str(config), environ={})
    assert str(path) in str(caught.value)


# The namespace.


@pytest.mark.parametrize("name", ["a", "polity", "Team-7_x.y", "x" * 32])
def test_a_usable_namespace_comes_back_unchanged(name: str) -> None:
    assert settings.check_namespace(name) == name


@pytest.mark.parametrize("name", ["", "x" * 33, "a b", "a:b", "a=b", "ä", "a\n", "a/b", "a,b"])
def test_a_namespace_that_serf_could_not_carry_is_bad_input(name: str, write: Path) -> None:
    with pytest.raises(BadInput) as caught:
        settings.check_namespace(name)
    assert "1 to 32" in caught.value.hint
    if name:
        with pytest.raises(BadInput):
            settings.load(namespace=name, config=str(write), environ={})
        with pytest.raises(BadInput):
            settings.load_for_voter({"POLITY_STATE_DIR": "/x", "POLITY_NAMESPACE": name})


# What the hook reads.


def test_the_hook_reads_no_file_where_the_environment_has_both(
    write: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def touched(*args: object, **options: object) -> None:
        raise AssertionError("a file was looked for")

    monkeypatch.setattr(builtins, "open", touched)
    monkeypatch.setattr(os.path, "exists", touched)
    environ = {"POLITY_STATE_DIR": "/mine", "POLITY_NAMESPACE": "mine", "POLITY_CONFIG": str(write)}
    assert settings.load_for_voter(environ) == ("/mine", "mine")


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, ("/from/file", "from-file")),
        ({"POLITY_STATE_DIR": "/mine"}, ("/mine", "from-file")),
        ({"POLITY_NAMESPACE": "mine"}, ("/from/file", "mine")),
    ],
)
def test_the_hook_takes_from_the_file_what_the_environment_leaves_open(
    write: Path, environ: dict[str, str], expected: tuple[str, str]
) -> None:
    given = {**environ, "POLITY_CONFIG": str(write)}
    assert settings.load_for_voter(given) == expected
    chosen = settings.load(environ=given)
    assert (chosen.state_dir, chosen.namespace) == expected


def test_the_hook_and_the_commands_have_the_same_defaults(bare: dict[str, str]) -> None:
    given = {**bare, "POLITY_CONFIG": os.devnull}
    chosen = settings.load(environ=given)
    assert settings.load_for_voter(given) == (chosen.state_dir, chosen.namespace)


def test_the_hook_hears_of_a_broken_file(tmp_path: Path) -> None:
    path = tmp_path / "polity.toml"
    path.write_text("nonsense")
    with pytest.raises(BadConfiguration, match="not TOML"):
        settings.load_for_voter({"POLITY_CONFIG": str(path)})


def test_the_hint_for_a_wrong_type_is_itself_toml(tmp_path: Path) -> None:
    with pytest.raises(BadConfiguration) as caught:
        load_text(tmp_path, "rpc_addr = 1")
    assert tomllib.loads(caught.value.hint.removeprefix("write ")) == {"rpc_addr": "..."}


# The table [voters].


def test_how_the_electorate_is_kept_in_line_comes_from_the_table(tmp_path: Path) -> None:
    assert load_text(tmp_path, "").upkeep == settings.Upkeep(20.0, 900.0, None)
    text = "[voters]\ntend_every_s = 5\nleave_grace_s = 60.5\nstrike_failed_after_s = 86400\n"
    assert load_text(tmp_path, text).upkeep == settings.Upkeep(5, 60.5, 86400)


def test_the_environment_beats_how_often_agents_look(write: Path) -> None:
    write.write_text("[voters]\ntend_every_s = 5\nleave_grace_s = 60\n")
    loaded = settings.load(config=str(write), environ={"POLITY_TEND": "0"})
    assert loaded.upkeep == settings.Upkeep(0.0, 60)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("voters = 3", "voters must be a table"),
        ("[voters]\nleave_grace = 3", "unknown setting 'voters.leave_grace'"),
        ('[voters]\nleave_grace_s = "3"', "leave_grace_s must be a number of seconds, not '3'"),
        ("[voters]\nleave_grace_s = -1", "leave_grace_s must be a number"),
        ("[voters]\nleave_grace_s = nan", "leave_grace_s must be a number"),
        ("[voters]\ntend_every_s = true", "tend_every_s must be a number"),
    ],
)
def test_what_is_wrong_in_the_table_is_named(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(BadConfiguration) as caught:
        load_text(tmp_path, text)
    assert complaint in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize("value", ["soon", "-1", "inf", ""])
def test_what_is_wrong_in_the_variable_is_named(value: str) -> None:
    with pytest.raises(BadConfiguration, match="in POLITY_TEND, tend_every_s must be a number"):
        settings.load(config=os.devnull, environ={"POLITY_TEND": value})


def test_the_hook_does_not_mind_the_table(tmp_path: Path) -> None:
    path = tmp_path / "polity.toml"
    path.write_text('state_dir = "/from/file"\n[voters]\ntend_every_s = 5\n')
    assert settings.load_for_voter({"POLITY_CONFIG": str(path)}) == ("/from/file", "polity")


# The tables [roles.NAME].


def test_what_is_done_about_roles_comes_from_tables_of_their_names(tmp_path: Path) -> None:
    assert load_text(tmp_path, "").roles == ()
    text = """
[roles.backup]
[roles.primary]
takeover_delay = 0
priority = 2
only_if = ["/bin/is-fit", "now"]
only_if_timeout = 1.5
[roles."web front"]
candidate = false
recall = true
[roles.none]
candidate = false
[roles.shell]
recall = false
only_if = "test -e /fit"
"""
    found = load_text(tmp_path, text)
    assert found.roles == (
        Succession("backup", True, True, 60.0, 0, (), 5.0),
        Succession("primary", True, True, 0, 2, ("/bin/is-fit", "now"), 1.5),
        Succession("web front", False, True),
        Succession("none", False, False),
        Succession("shell", True, False, only_if=("/bin/sh", "-c", "test -e /fit")),
    )
    assert found.succession_of("primary") == found.roles[1]
    assert found.succession_of("other") is None


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("roles = 3", "roles must be a table"),
        ('[roles]\nbackup = "x"', "roles.backup must be a table"),
        ("[[roles]]", "roles must be a table"),
        ('[roles." backup"]', r"\[roles. backup\] names no role: the role name begins or ends with a blank"),
        ('[roles.""]', "the role name is empty"),
        ("[roles.x]\ntakeover = 3", "unknown setting 'roles.x.takeover'"),
        ('[roles.x]\ncandidate = "yes"', "roles.x.candidate must be true or false, not 'yes'"),
        ("[roles.x]\nrecall = 1", "roles.x.recall must be true or false"),
        ("[roles.x]\ntakeover_delay = -1", "takeover_delay must be a number of seconds"),
        ("[roles.x]\ntakeover_delay = nan", "takeover_delay must be a number of seconds"),
        ("[roles.x]\ntakeover_delay = inf", "takeover_delay must be a number of seconds"),
        ("[roles.x]\ntakeover_delay = true", "takeover_delay must be a number of seconds"),
        ('[roles.x]\ntakeover_delay = "5s"', "takeover_delay must be a number of seconds"),
        ("[roles.x]\npriority = 101", "priority must be a whole number from 0 to 100"),
        ("[roles.x]\npriority = 1.0", "priority must be a whole number"),
        ("[roles.x]\nonly_if = []", "only_if must be a command"),
        ('[roles.x]\nonly_if = [""]', "only_if must be a command"),
        ('[roles.x]\nonly_if = ["a", 1]', "only_if must be a command"),
        ('[roles.x]\nonly_if = " "', "only_if must be a command"),
        ('[roles.x]\nonly_if = ["a\\u0000"]', "only_if must be a command"),
        ("[roles.x]\nonly_if = true", "only_if must be a command"),
        ("[roles.x]\nonly_if_timeout = 0", "only_if_timeout must be a number of seconds above 0"),
    ],
)
def test_what_is_wrong_about_roles_is_named(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(BadConfiguration, match=complaint) as caught:
        load_text(tmp_path, text)
    assert str(tmp_path) in str(caught.value)
    assert caught.value.hint


def test_the_hook_knows_whether_there_are_roles(tmp_path: Path) -> None:
    path = tmp_path / "polity.toml"
    for text, expected in (("", False), ("[voters]\n", False), ("[roles.x]\n", True)):
        path.write_text(text)
        assert settings.has_roles({"POLITY_CONFIG": str(path)}) is expected
        assert settings.load_for_voter({"POLITY_CONFIG": str(path), "POLITY_STATE_DIR": "/x"})[0] == "/x"
