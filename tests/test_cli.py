"""The commands without a cluster: command lines, names, streams, what is printed and how it ends."""

from __future__ import annotations

import json
import os
import pty
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from polity_cli.cli import shapes
from polity_cli.cli.main import COMMANDS
from polity_cli.cli.reference import commands
from polity_cli.cli.running import plain

ROOT = Path(__file__).parents[1]
NOBODY = "127.0.0.1:1"


def environment(**more: str) -> dict[str, str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("SERF_", "POLITY_"))}
    return clean | {"POLITY_CONFIG": os.devnull, "SERF_RPC_ADDR": NOBODY} | more


def polity(*words: str | bytes, **env: str) -> subprocess.CompletedProcess[str]:
    """Runs `polity WORDS` as a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "polity_cli", *words],
        env=environment(**env),
        capture_output=True,
        text=True,
        errors="surrogateescape",
        timeout=60,
        check=False,
    )


def said(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """The JSON of an answer, which must be the one line on stdout and of the documented shape."""
    assert done.stdout.count("\n") == 1, done
    answer = json.loads(done.stdout)
    assert shapes.mismatches(answer) == []
    assert answer.get("exit_code", 0) == done.returncode
    assert isinstance(answer, dict)
    return answer


@contextmanager
def listener() -> Iterator[tuple[socket.socket, str]]:
    """A port that takes connections and, unless somebody sees to it, says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server, f"127.0.0.1:{server.getsockname()[1]}"


def test_json_reference_is_up_to_date() -> None:
    written = (ROOT / "docs" / "json.md").read_text(encoding="utf-8")
    assert written == shapes.document(), "run `python -m polity_cli.cli.shapes > docs/json.md`"


def test_every_command_that_has_json_has_a_shape() -> None:
    speaking = {
        words.removeprefix("polity ")
        for words, command in commands()
        if any(param.name == "as_json" for param in command.params)
    }
    assert speaking | {"run"} == set(shapes.COMMANDS), "that one writes it into a file"


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        ([], "no object with a command"),
        ({"command": "fly"}, "no shape for the command 'fly'"),
        ({"command": "roles", "roles": {}, "seconds": 1}, "roles is no list: {}"),
        ({"command": "roles", "roles": []}, "seconds is missing"),
        ({"command": "roles", "roles": [], "seconds": True}, "seconds is no number: True"),
        ({"command": "roles", "roles": [], "seconds": 1, "x": 1}, "x is not in the table"),
        ({"command": "doctor", "outcome": "ill", "findings": []}, "outcome is no fit|unfit: 'ill'"),
        ({"command": "elect", "outcome": "error", "error": "x", "hint": ""}, "exit_code is missing"),
    ],
)
def test_the_table_of_shapes_refuses_what_is_not_in_it(answer: object, complaint: str) -> None:
    assert complaint in shapes.mismatches(answer)


def test_text_from_elsewhere_cannot_drive_a_terminal() -> None:
    assert plain("n1 \x1b[2J\r\n\x7f\u202e\udc80é") == "n1 \\x1b[2J\\r\\n\\x7f\\u202e\\udc80é"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_ends_in_exit_codes_and_an_example_and_needs_no_agent(command: str) -> None:
    done = polity(command, "--help")
    assert done.returncode == 0
    assert done.stderr == ""
    codes, example = done.stdout.split("Exit codes:\n")[1].split("\n\nExample:\n")
    assert codes.startswith("  0    yes")
    assert "polity " in example


@pytest.mark.parametrize(
    ("words", "page"),
    [
        ("voters add", "polity voters add"),
        ("voters rule", "polity voters rule"),
        ("voters nonsense", "polity voters"),
        ("elect", "polity elect"),
        ("--nonsense", "polity"),
    ],
)
def test_usage_errors_name_the_page_of_the_very_command(words: str, page: str) -> None:
    done = polity(*words.split())
    assert done.returncode == 2
    assert f"\n  see `{page} --help`\n" in done.stderr


def test_version_is_told() -> None:
    from polity_cli import __version__

    assert polity("--version").stdout == f"polity {__version__}\n"


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("fly",),
        ("elect",),
        ("elect", "a", "b"),
        ("elect", "a", "--fly"),
        ("elect", "a", "--timeout", "0"),
        ("elect", "a", "--timeout", "nan"),
        ("elect", "a", "--timeout", "inf"),
        ("elect", "a", "--timeout", "soon"),
        ("recall", "a", "--term", "0"),
        ("recall", "a", "--holder", ""),
        ("found", "--expect", "0"),
        ("found", "--percent", "101"),
        ("found", "--min-votes", "0"),
        ("elect", ""),
        ("who", " a"),
        ("recall", "a\nb"),
        ("elect", "a" * 129),
        ("elect", b"\xff\xfe"),
        ("recall", "a", "--holder", b"\xff"),
        ("who", "a", "--namespace", "a/b"),
        ("who", "a", "--namespace", b"\xff"),
        ("who", "a", "--rpc-addr", "nowhere"),
        ("who", "a", "--rpc-addr", b"\xff:1"),
        (b"\xff",),
        ("watch", ""),
        ("watch", "a", "--every", "0"),
        ("watch", "--since", "a"),
        ("watch", "--since", "a=-1"),
        ("watch", "a", "--since", "b=1"),
        ("watch", "--since", " =1"),
        ("watch", "--exec", "true"),
        ("watch", "--state", "x", "--webhook", "http://127.0.0.1:1/"),
        ("watch", "--state", "x", "--webhook-secret-file", "/dev/null"),
        ("watch", "--state", "x", "--webhook", "x", "--webhook-secret-file", "/dev/null"),
        ("watch", "--state", "x", "--webhook", "http://127.0.0.1:1/", "--webhook-secret-file", "/dev/null"),
    ],
    ids=repr,
)
def test_what_cannot_be_used_is_refused_before_anything_is_asked(words: tuple[str | bytes, ...]) -> None:
    done = polity(*words, "--json")
    assert done.returncode == 2, done
    assert said(done)["outcome"] == "error"
    assert done.stderr.startswith("polity: ")
    assert "Traceback" not in done.stderr


def test_a_quorum_that_two_nodes_could_have_at_once_is_refused_with_the_reason() -> None:
    done = polity("found", "--percent", "49.9", "--json")
    assert done.returncode == 2
    assert "elect two nodes" in said(done)["error"]


@pytest.mark.parametrize(
    "words", [("elect", "a"), ("recall", "a"), ("who", "a"), ("roles",), ("voters",), ("found",), ("watch",)]
)
def test_no_agent_is_told_with_its_address_and_what_to_do(words: tuple[str, ...]) -> None:
    done = polity(*words, "--json")
    assert done.returncode == 7
    answer = said(done)
    assert answer["command"] == words[0]
    assert NOBODY in answer["error"]
    assert "--rpc-addr" in answer["hint"]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("voters", "--json", "add", "n4"), "options go behind the word add"),
        (("voters", "--watch", "sync"), "options go behind the word sync"),
        (("voters", "rule"), "give --percent, --min-votes or both"),
        (("voters", "rule", "--percent", "49"), "not in the range"),
        (("voters", "add"), "Missing argument"),
        (("voters", "expel", "n4"), "No such command"),
    ],
)
def test_a_change_of_the_voters_that_makes_no_sense_is_refused(
    words: tuple[str, ...], complaint: str
) -> None:
    done = polity(*words)
    assert done.returncode == 2
    assert complaint in done.stderr


@pytest.mark.parametrize("words", [("add", "n4"), ("remove", "n4"), ("replace", "n3", "n4"), ("sync",)])
def test_changes_of_the_voters_need_an_agent(words: tuple[str, ...]) -> None:
    done = polity("voters", *words, "--json")
    assert done.returncode == 7
    assert said(done)["command"] == f"voters {words[0]}"


def test_errors_in_text_are_a_line_and_an_indented_hint_on_stderr() -> None:
    done = polity("who", "a")
    assert done.stdout == ""
    message, hint = done.stderr.splitlines()
    assert message.startswith("polity: no Serf agent answers")
    assert hint.startswith("  ")


@pytest.mark.parametrize(
    "greeting", [b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\xc1", b""]
)
def test_a_server_that_is_not_serf_is_no_agent(greeting: bytes) -> None:
    with listener() as (server, address):

        def serve() -> None:
            peer, _ = server.accept()
            with peer:
                peer.recv(1000)
                peer.sendall(greeting)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        done = polity("who", "a", "--json", "--timeout", "5", "--rpc-addr", address)
        thread.join(5)
    assert done.returncode == 7, done
    assert said(done)["outcome"] == "error"


@pytest.mark.parametrize("text", ["rpc_addr = ", "colour = 'red'", "state_dir = 3"])
def test_a_bad_configuration_file_is_told(tmp_path: Path, text: str) -> None:
    path = tmp_path / "polity.toml"
    path.write_text(text)
    done = polity("who", "a", "--config", str(path), "--json")
    assert done.returncode == 8
    assert str(path) in said(done)["error"]


def test_doctor_finds_a_bad_configuration_file_and_says_so(tmp_path: Path) -> None:
    done = polity("doctor", "--json", "--config", str(tmp_path / "none.toml"))
    assert done.returncode == 8
    (finding,) = said(done)["findings"]
    assert (finding["check"], finding["level"]) == ("configuration", "FAIL")


def test_doctor_says_what_to_do_where_there_is_no_agent(tmp_path: Path) -> None:
    done = polity("doctor", "--json", POLITY_STATE_DIR=str(tmp_path))
    assert done.returncode == 7
    findings = {finding["check"]: finding for finding in said(done)["findings"]}
    assert findings["serf"]["level"] == "FAIL"
    assert findings["serf"]["advice"]
    assert "state directory" in findings
    text = polity("doctor", POLITY_STATE_DIR=str(tmp_path))
    assert text.returncode == 7
    assert "FAIL  serf: " in text.stdout


def test_serf_config_is_a_configuration_that_serf_can_run(tmp_path: Path) -> None:
    place = tmp_path / "it's here"
    done = polity("serf-config", "--state-dir", str(place), "--namespace", "db")
    assert done.returncode == 0, done
    config = json.loads(done.stdout)
    assert config["tags"] == {"db": "voter"}
    assert [handler.split("=")[0] for handler in config["event_handlers"]] == ["query:db", "user:db"]
    command = config["event_handlers"][0].split("=", 1)[1]
    hook = command.split()[-1]
    assert os.path.isabs(hook)
    assert os.access(hook, os.X_OK)
    # As Serf runs it, with the hook replaced by something that tells what it was given.
    shown = subprocess.run(
        ["/bin/sh", "-c", command.replace(hook, "env")], capture_output=True, text=True, check=True
    )
    assert f"POLITY_STATE_DIR={place}" in shown.stdout.splitlines()
    assert "POLITY_NAMESPACE=db" in shown.stdout.splitlines()


def test_serf_config_makes_a_relative_state_directory_absolute() -> None:
    done = polity("serf-config", "--state-dir", "state")
    assert f"POLITY_STATE_DIR={Path.cwd() / 'state'} " in done.stdout


def test_serf_config_for_the_agent_is_the_tag_alone() -> None:
    assert json.loads(polity("serf-config", "--agent").stdout) == {"tags": {"polity": "voter"}}


def shell(script: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Runs a line of bash in which $polity is the command."""
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", script],
        env=environment(polity=f"{sys.executable} -m polity_cli", **env),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("words", ["serf-config", "--help", "elect --help", "doctor --json"])
def test_a_reader_who_leaves_early_costs_no_traceback(words: str) -> None:
    done = shell(f"$polity {words} | true; echo ${{PIPESTATUS[0]}}")
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr
    assert done.stdout.strip() == ("7" if "doctor" in words else "0")


@pytest.mark.parametrize("words", ["serf-config", "who a", "who a --json", "--version"])
def test_closed_streams_cost_no_traceback(words: str) -> None:
    code = 7 if "who" in words else 0
    assert shell(f"$polity {words} >&-").returncode == code
    assert shell(f"$polity {words} 2>&-").returncode == code
    assert shell(f"$polity {words} >&- 2>&- <&-").returncode == code


def test_to_watch_without_standard_output_writes_into_no_other_file() -> None:
    words = f"exec {sys.executable} -m polity_cli watch >&-"
    done = subprocess.run(["/bin/sh", "-c", words], env=environment(), capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")


def test_an_answer_that_cannot_be_written_is_no_success() -> None:
    done = shell("$polity serf-config >/dev/full")
    assert done.returncode == 1
    assert "No space left" in done.stderr


def test_names_that_the_locale_lacks_are_escaped_and_not_fatal() -> None:
    done = polity("who", "a", "--rpc-addr", "127.0.0.1:1", "--namespace", "é", LC_ALL="C", PYTHONUTF8="0")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_a_bug_is_called_one_and_shows_its_traceback_only_when_asked(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import polity_cli.settings\ndef load(**_): raise KeyError('oops')\npolity_cli.settings.load = load\n"
    )
    place = os.pathsep.join([str(tmp_path), str(ROOT)])
    quiet = polity("who", "a", "--json", PYTHONPATH=place)
    assert quiet.returncode == 1
    assert "bug" in said(quiet)["error"]
    assert "Traceback" not in quiet.stderr
    assert "POLITY_DEBUG" in quiet.stderr
    loud = polity("who", "a", PYTHONPATH=place, POLITY_DEBUG="1")
    assert loud.returncode == 1
    assert "Traceback" in loud.stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_who_is_interrupted_while_connecting_ends_at_once(number: signal.Signals, code: int) -> None:
    with listener() as (server, address):
        command = subprocess.Popen(
            [sys.executable, "-m", "polity_cli", "elect", "a", "--json", "--rpc-addr", address],
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        peer, _ = server.accept()
        with peer:
            peer.recv(1)  # It has connected, so it minds its signals.
            command.send_signal(number)
            out, err = command.communicate(timeout=3)
    assert command.returncode == code
    assert json.loads(out)["exit_code"] == code
    assert "nothing was asked for" in err


def test_a_terminal_shows_what_is_waited_for_and_is_left_clean() -> None:
    ours, theirs = pty.openpty()
    with listener() as (_, address):
        command = subprocess.Popen(
            [sys.executable, "-m", "polity_cli", "who", "a", "--timeout", "2", "--rpc-addr", address],
            env=environment(TERM="xterm"),
            stdout=subprocess.PIPE,
            stderr=theirs,
            text=True,
        )
        os.close(theirs)
        command.communicate(timeout=20)
    shown = b""
    try:
        while piece := os.read(ours, 10_000):
            shown += piece
    except OSError:
        pass  # Linux says so when the other end of a terminal is closed.
    finally:
        os.close(ours)
    assert command.returncode == 7
    waiting, told = shown.decode().rsplit("\r\x1b[K", 1)
    assert f"waiting for the Serf agent at {address}" in waiting
    assert told.startswith("polity: ")


def test_electing_imports_no_other_command_and_nothing_dear() -> None:
    program = (
        "import sys\n"
        "from polity_cli.cli.main import cli\n"
        "cli.main(['elect', '--help'], standalone_mode=False)\n"
        "import polity_cli.cli.running, polity_cli.cli.progress, polity_cli.cli.output\n"
        "import polity_cli.session, polity_cli.edges.serf_rpc\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = set(done.stderr.split())
    dear = {
        "asyncio",
        "logging",
        "tomllib",
        "requests",
        "importlib.metadata",
        "dataclasses",
        "json",
        "subprocess",
    }
    others = {f"polity_cli.{name}" for name in ("demo", "devcluster", "checkup", "agent", "polity")}
    commands = {module for module, _ in COMMANDS.values()} - {"polity_cli.cli.elect"}
    assert loaded & (dear | others | commands) == set()


def test_roles_that_are_configured_have_a_handler_for_nodes_that_come_and_go(tmp_path: Path) -> None:
    config = tmp_path / "polity.toml"
    config.write_text("[roles.primary]\n")
    made = json.loads(polity("serf-config", "--state-dir", "/x", "--config", str(config)).stdout)
    query, user, members = made["event_handlers"]
    events, _, command = members.partition("=")
    assert events == "member-join,member-failed,member-leave,member-reap"
    assert command == f"POLITY_CONFIG={config} {query.partition('=')[2]}"
    assert user.partition("=")[2] == query.partition("=")[2]
    assert len(json.loads(polity("serf-config", "--state-dir", "/x").stdout)["event_handlers"]) == 2
    for_agent = polity("serf-config", "--agent", "--config", str(config))
    assert json.loads(for_agent.stdout) == {"tags": {"polity": "voter"}}


def test_a_run_must_end_before_its_role_is_taken_over(tmp_path: Path) -> None:
    config = tmp_path / "polity.toml"
    config.write_text("[roles.primary]\ntakeover_delay = 20\n")
    refused = polity("run", "primary", "--config", str(config), "--", "true")
    assert refused.returncode == 2
    assert "takeover_delay of [roles.primary] is 20 s" in refused.stderr
    fits = ("--grace", "12", "--kill-grace", "7")
    assert polity("run", "primary", *fits, "--config", str(config), "--", "true").returncode == 7
    assert polity("run", "other", "--config", str(config), "--", "true").returncode == 7


def test_succeed_without_roles_says_so_and_with_them_wants_an_agent(tmp_path: Path) -> None:
    none = polity("succeed")
    assert (none.returncode, none.stdout) == (0, "")
    assert "there are no roles to look after" in none.stderr
    config = tmp_path / "polity.toml"
    config.write_text("[roles.primary]\n")
    assert polity("succeed", "--config", str(config)).returncode == 7
