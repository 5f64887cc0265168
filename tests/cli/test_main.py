"""The command as a whole: what it loads, what it says, how it ends."""

from __future__ import annotations

import ast
import io
import json
import os
import re
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from tests.cli.conftest import Meyrin
from tests.client.fakehub import FakeHub

import meyrin as package
from meyrin.cli import exits
from meyrin.cli.main import COMMANDS, cli, report, run
from meyrin.cli.session import Session
from meyrin.client.api import Client
from meyrin.client.errors import error_classes
from meyrin.domain import errors
from meyrin.domain.refusal import Reason, Refusal

Capture = pytest.CaptureFixture[str]
ROOT = Path(__file__).parents[2]
HEAVY = {
    "numpy", "numba", "sqlalchemy", "httpx2", "pydantic", "fastapi", "platformdirs", "structlog",
    "asyncio", "ssl", "email",
}  # fmt: skip
NOT_HERE = {"up", "agent"}


def loaded_by(*argv: str) -> tuple[int, set[str]]:
    """Exit code and loaded modules of one call in a fresh interpreter."""
    program = (
        "import sys\n"
        "from meyrin.cli.main import run\n"
        "from meyrin.cli.session import Session\n"
        f"code = run({list(argv)!r}, Session())\n"
        "print(code, *sys.modules, sep='\\n', file=sys.stderr)\n"
    )
    command = [sys.executable, "-W", "error", "-c", program]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stderr.split()
    return int(said[0]), {name.partition(".")[0] for name in said[1:]} | set(said[1:])


@pytest.mark.parametrize(
    "argv",
    [
        ("--help",),
        ("--version",),
        ("submit", "--help"),
        ("run", "--help"),
        ("site", "offer", "--help"),
        ("project", "--help"),
        ("completion", "bash"),
    ],
)
def test_help_loads_nothing_heavy(argv: tuple[str, ...]) -> None:
    code, modules = loaded_by(*argv)
    assert code == 0
    assert not HEAVY & modules


def test_the_first_help_loads_no_command() -> None:
    _, modules = loaded_by("--help")
    ours = {name for name in modules if name.startswith("meyrin.")}
    assert not {entry.place.partition(":")[0] for entry in COMMANDS.values()} & ours
    assert not {name for name in ours if name.startswith(("meyrin.client", "meyrin.wire"))}


def test_public_names_and_version() -> None:
    assert {name: getattr(package, name) for name in package.__all__}
    assert set(package.__all__) <= set(dir(package))
    with pytest.raises(AttributeError, match="nonsense"):
        _ = package.nonsense
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert package.__version__ == project["version"]


def test_public_names_are_pinned() -> None:
    assert package.__all__ == [
        "ArraySpec", "BadDirective", "Client", "Conflict", "Dependency", "DependencyKind",
        "Failed", "InputFile", "InvalidInput", "Job", "JobRequest", "JobState", "MeyrinError",
        "NotAllowed", "NotFound", "NotLoggedIn", "Refused", "Resources", "StorageFull",
        "Unreachable", "__version__", "forecast", "run", "submit",
    ]  # fmt: skip


# --- exit codes


def test_every_error_has_an_exit_code() -> None:
    assert set(exits.EXIT) == set(error_classes().values())


def test_the_tree_says_the_same_exit_codes() -> None:
    text = ast.get_docstring(ast.parse(Path(errors.__file__).read_text()))
    assert text is not None
    told = {kind: int(code) for kind, code in re.findall(r"(\w+) .*\(exit (\d)", text)}
    assert told == {kind.__name__: exits.EXIT[kind] for kind in exits.EXIT if kind.__name__ in told}
    assert sorted(set(told.values())) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("kind", sorted(exits.EXIT, key=lambda kind: kind.code))
def test_each_error_as_words_code_and_object(
    meyrin: Meyrin, hub: FakeHub, capsys: Capture, kind: type[errors.MeyrinError]
) -> None:
    hub.fail(
        "GET /jobs/1", kind("what\x1b[2J", hint="the way out", field="time", line=None), times=9
    )
    assert meyrin("show", "1", "--json") == exits.EXIT[kind]
    said = capsys.readouterr()
    assert json.loads(said.out)["error"]["code"] == kind.code
    assert json.loads(said.out)["error"]["facts"] == {"field": "time"}
    assert said.err.splitlines() == ["meyrin: what�[2J", "hint: the way out"]


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("jobs --json --bogus", "--bogus"),
        ("run --json --test-only --bogus -- true", "--bogus"),
        (f"call route --modes {ROOT}/examples/modes --kind sme --json", "--purpose"),
        ("jobs --state foo --json", "foo"),
        ("show --json", "JOB"),
        ("nosuch --json", "nosuch"),
    ],
)
def test_wrong_usage_is_an_object_too(
    meyrin: Meyrin, capsys: Capture, words: str, named: str
) -> None:
    assert meyrin(*words.split()) == exits.USAGE
    said = capsys.readouterr()
    error = json.loads(said.out)["error"]
    assert error["code"] in {"invalid_input", "bad_directive"}
    assert named in error["message"]
    assert named in said.err
    assert meyrin("show", "--", "--json", "x") == exits.USAGE
    assert capsys.readouterr().out == ""


def test_questions_stand_beside_the_data(
    meyrin: Meyrin, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed = io.StringIO("sme\ntrain\n60000\n6\n")
    monkeypatch.setattr(typed, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdin", typed)
    assert meyrin("call", "route", "--modes", f"{ROOT}/examples/modes", "--json") in {0, 3}
    said = capsys.readouterr()
    assert json.loads(said.out)["modes"]
    assert "How many hours" in said.err


def test_ctrl_c_is_no_traceback(
    meyrin: Meyrin, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Client, "jobs", interrupted)
    assert meyrin("jobs") == 130
    assert capsys.readouterr().err.strip() == "interrupted"


def test_ctrl_c_while_modules_load_says_nothing() -> None:
    program = (
        "import os, signal, sys\n"
        "class Finder:\n"
        "    def find_spec(name, path, target=None):\n"
        "        if name == 'click':\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Finder)\n"
        "sys.argv = ['meyrin', '--help']\n"
        "from meyrin.cli.start import main\n"
        "main()\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (-signal.SIGINT, b"", b"")


def test_a_hub_that_does_not_answer_is_said(
    environ: dict[str, str], hub: FakeHub, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meyrin.client.silence.LONG_S", 0.0)
    clients: list[Client] = []
    build = Session.client

    def noted(session: Session) -> Client:
        clients.append(build(session))
        return clients[-1]

    monkeypatch.setattr(Session, "client", noted)

    def pause(_: float) -> None:
        clients[-1].connection._silence.look()

    for quiet in (False, True):
        hub.fail("GET /jobs$", "drop", times=2)
        session = Session(environ=environ, pause=pause, quiet=quiet)
        assert run(["jobs"], session) == 0
        said = capsys.readouterr().err
        assert ("the hub has not answered for some seconds; still trying\n" in said) != quiet


def test_a_reader_that_left_is_no_error_worth_words() -> None:
    program = (
        "import sys; sys.argv = ['meyrin', '--help']; from meyrin.cli.main import main; main()"
    )
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    words = process.stderr.read()
    process.stderr.close()
    assert process.wait() in {0, 1}
    assert words == b""


# --- help


def commands(group: click.Group, words: str = "") -> Iterator[tuple[str, click.Command]]:
    for name in group.list_commands(click.Context(group)):
        if name in NOT_HERE:
            continue
        command = group.get_command(click.Context(group), name)
        assert command is not None
        yield f"{words}{name}", command
        if isinstance(command, click.Group):
            yield from commands(command, f"{words}{name} ")


@pytest.mark.parametrize(("words", "command"), list(commands(cli)))
def test_help_teaches(meyrin: Meyrin, capsys: Capture, words: str, command: click.Command) -> None:
    assert meyrin(*words.split(), "--help") == 0
    said = capsys.readouterr().out
    assert command.get_short_help_str()
    assert all(len(line) <= 100 for line in said.splitlines())
    hub = {"--dir", "--hub", "--token"}  # one name with another option, and that is not heard
    ours = {each.name for each in command.params if hub & set(each.opts)}
    rest = [each.name for each in command.params if not hub & set(each.opts)]
    assert not ours & set(rest), f"{ours & set(rest)} would take the hub's option"
    if not isinstance(command, click.Group):
        assert f"meyrin {words}" in said.partition("Example")[2], "an example of itself"


def test_the_contract_of_commands_is_there() -> None:
    said = {words for words, _ in commands(cli)} | NOT_HERE
    assert said >= {
        "submit", "run", "jobs", "show", "logs", "explain", "cancel", "fetch", "release", "login",
        "completion", "up", "agent", "site list", "site show", "site enrol", "site drain",
        "site resume", "site offer", "site token", "project list", "project create",
        "project show", "project grant", "project member add", "project member remove",
        "ledger entries", "ledger statement", "ledger verify",
    }  # fmt: skip


def test_short_help_texts_end_with_a_full_stop() -> None:
    for entry in COMMANDS.values():
        assert entry.help.endswith(".")
        assert len(entry.help) < 60


# --- completion


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(meyrin: Meyrin, capsys: Capture, shell: str) -> None:
    assert meyrin("completion", shell) == 0
    said = capsys.readouterr().out
    assert "_MEYRIN_COMPLETE" in said
    assert f"{shell}_complete" in said


def test_completion_is_shell_that_runs(meyrin: Meyrin, capsys: Capture) -> None:
    meyrin("completion", "bash")
    said = capsys.readouterr().out
    subprocess.run(["bash", "-n"], input=said.encode(), check=True)


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("meyrin ca", {"call", "cancel"}),
        ("meyrin site en", {"enrol", "end-offer"}),
        ("meyrin jobs --st", {"--state"}),
        ("meyrin jobs --state runn", {"running"}),
        ("meyrin project member ", {"add", "remove"}),
        ("meyrin submit --gpus-per", {"--gpus-per-node", "--gpus-per-task"}),
        ("meyrin run --time=5 --output-f", {"--output-files"}),
        ("meyrin submit train", {"train"}),  # a file
    ],
)
def test_what_completion_offers(typed: str, offered: set[str]) -> None:
    from click.shell_completion import ShellComplete

    words = typed.split(" ")
    maker = ShellComplete(cli, {}, "meyrin", "_MEYRIN_COMPLETE")
    found = maker.get_completions(words[1:-1], words[-1])
    assert {item.value for item in found} == offered


# --- a place where not everything is as it should be

IN_A_SHELL = """
set -u
run() { "$PYTHON" -W error -m meyrin.cli.main "$@"; }
run submit <&- 2>seen.stdin; echo "$?"
run run --dry-run -- x >&-; echo "$?"
run show nonsense 2>/dev/full; echo "$?"
run show nonsense 2>&-; echo "$?"
run nonsense 2>/dev/full; echo "$?"
run nonsense 2>&1 | true; echo "${PIPESTATUS[0]}"
env -u PYTHONUNBUFFERED "$PYTHON" -m meyrin.cli.main show nonsense --json >/dev/full; echo "$?"
run show nonsense --json | true; echo "${PIPESTATUS[0]}"
PYTHONIOENCODING=latin1 run run --dry-run -J 'é日本' -- x >seen.json; echo "$?"
PYTHONIOENCODING=latin1 run submit --help >seen.help; echo "$?"
"""


def test_closed_full_and_narrow_streams(environ: dict[str, str], tmp_path: Path) -> None:
    """A stream that can't be used takes nothing else with it: neither data nor the exit code."""
    around = {**os.environ, **environ, "PYTHON": sys.executable, "PYTHONUTF8": "1"}
    done = subprocess.run(
        ["bash", "-c", IN_A_SHELL],
        env=around,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == ["2", "0", *6 * "2", "0", "0"], done.stderr
    assert "standard input is empty" in (tmp_path / "seen.stdin").read_text()
    assert json.loads((tmp_path / "seen.json").read_text(encoding="latin1"))["name"] == "é日本"


@pytest.mark.parametrize(
    ("argv", "code"),
    [
        (("project", "show", "\udcff"), 2),
        (("jobs", "--after", "\udcff"), 2),
        (("site", "show", ""), 5),
        (("site", "show", "."), 5),
        (("site", "drain", "../people", "--reason", "x"), 5),
    ],
)
def test_names_that_no_address_can_hold(
    meyrin: Meyrin, capsys: Capture, argv: tuple[str, ...], code: int
) -> None:
    assert meyrin(*argv) == code
    said = capsys.readouterr().err
    assert re.search(r"not valid UTF-8|there is nothing called", said), said


def test_in_a_folder_that_was_removed(
    meyrin: Meyrin, capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert meyrin("submit", "--wrap=true") == 2
    assert "the current folder was removed" in capsys.readouterr().err


@pytest.mark.parametrize("alone", [False, True])
def test_a_hub_without_a_site_says_how_one_joins(
    alone: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from meyrin.cli import up

    up._greet("http://hub.test", "link", tmp_path, quiet=False, alone=alone)
    said = capsys.readouterr().err
    assert ("meyrin site enrol" in said) is alone
    assert ("meyrin run" in said) is not alone


def test_a_limit_of_nothing_is_said_to_be_none(capsys: Capture) -> None:
    refusals = tuple(Refusal(Reason.FEATURE, "alps", name, "fast", "") for name in ("a", "b"))
    report(errors.Refused("no place", refusals=refusals), Session())
    assert "alps/a: feature (asked fast, limit none)" in capsys.readouterr().err
