"""The table [watch]: what it may say, and what is said of the rest."""

from __future__ import annotations

from pathlib import Path

import pytest

from polity_cli import settings
from polity_cli.errors import BadConfiguration, BadInput
from polity_cli.watch_settings import WatchSettings, check_url


def load_text(tmp_path: Path, text: str) -> settings.Settings:
    path = tmp_path / "polity.toml"
    path.write_text(text)
    return settings.load(config=str(path), environ={})


def test_without_the_table_nothing_is_watched(tmp_path: Path) -> None:
    assert load_text(tmp_path, "").watch is None


def test_all_of_it(tmp_path: Path) -> None:
    text = """
    [watch]
    roles = ["backup", "primary"]
    exec = "notify"
    exec_timeout_s = 5
    webhook = "https://hooks.example.org/polity?x=1"
    secret_file = "/etc/polity/secret"
    webhook_timeout_s = 2.5
    every_s = 30
    """
    assert load_text(tmp_path, text).watch == WatchSettings(
        ("backup", "primary"),
        "notify",
        5,
        "https://hooks.example.org/polity?x=1",
        "/etc/polity/secret",
        2.5,
        30,
    )
    assert load_text(tmp_path, '[watch]\nexec = "x"').watch == WatchSettings(exec="x")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("watch = 3", "watch must be a table"),
        ("[watch]", "nobody to tell"),
        ('[watch]\nexec = "x"\nrole = "a"', "unknown setting 'watch.role'"),
        ('[watch]\nexec = "x"\nroles = "a"', "roles must be a list of texts"),
        ('[watch]\nexec = "x"\nroles = [1]', "roles must be a list of texts"),
        ('[watch]\nexec = "x"\nroles = [" a"]', "begins or ends with a blank"),
        ("[watch]\nexec = 3", "watch.exec must be a text"),
        ('[watch]\nexec = ""', "watch.exec must be a text"),
        ('[watch]\nexec = "x"\nevery_s = 0', "every_s must be a number of seconds above 0, not 0"),
        ('[watch]\nexec = "x"\nevery_s = nan', "every_s must be a number of seconds"),
        ('[watch]\nexec = "x"\nexec_timeout_s = true', "exec_timeout_s must be a number"),
        ('[watch]\nexec = "x"\nwebhook_timeout_s = "3"', "webhook_timeout_s must be a number"),
        ('[watch]\nwebhook = "http://x/"', "go together"),
        ('[watch]\nexec = "x"\nsecret_file = "x"', "go together"),
        ('[watch]\nwebhook = "ftp://x/"\nsecret_file = "x"', "no address of a webhook"),
    ],
)
def test_what_is_wrong_in_it_is_named(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(BadConfiguration) as caught:
        load_text(tmp_path, text)
    assert complaint in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    assert caught.value.hint


def test_the_hook_does_not_mind_the_table(tmp_path: Path) -> None:
    path = tmp_path / "polity.toml"
    path.write_text('state_dir = "/from/file"\n[watch]\nexec = 3\n')
    assert settings.load_for_voter({"POLITY_CONFIG": str(path)}) == ("/from/file", "polity")


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080/x", "https://[::1]/", "https://hooks.example.org"])
def test_addresses_that_can_be_used(url: str) -> None:
    assert check_url(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hooks.example.org",
        "http://",
        "ftp://x",
        "http://x:99999/",
        "http://x/a b",
        "http://[x",
        "file:///x",
    ],
)
def test_addresses_that_cannot(url: str) -> None:
    with pytest.raises(BadInput) as caught:
        check_url(url)
    assert "https://" in caught.value.hint


def test_an_address_with_a_password_is_refused_without_showing_it() -> None:
    with pytest.raises(BadInput, match="password") as caught:
        check_url("https://me:hidden@x/")
    assert "hidden" not in str(caught.value)
