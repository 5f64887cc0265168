"""Scripts as files, directives as words, precedence, the environment, and `meyrin run`."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meyrin.client.sbatch import (
    ClientOptions,
    Script,
    find_script,
    parse,
    parse_command,
    read_script,
    script_name,
    wants_wrap,
)
from meyrin.client.sbatch.directives import script_settings
from meyrin.client.sbatch.environment import stays_here
from meyrin.domain.errors import BadDirective, InvalidInput
from meyrin.domain.job import MAX_SCRIPT_BYTES

PLACE = {"cwd": "/w", "host": "h", "now_s": 1800446400}


def words(line: str) -> list[tuple[str, str | None]]:
    return [(s.name, s.value) for _, s in script_settings(f"#!/bin/sh\n#SBATCH {line}\n")]


def submission(text="#!/bin/sh\n", argv=(), environ=None, name="job.sh"):
    return parse(Script(text, name=name), [*argv, name], environ or {}, **PLACE)


# --- directives -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        (r"-J a\#b -t 3", [("job-name", "a#b"), ("time", "3")]),
        (r"-J a\"b\" -t 3", [("job-name", 'a"b"'), ("time", "3")]),
        (r"-J a\ -t 3", [("job-name", "a"), ("time", "3")]),
        (r"-J a\\b", [("job-name", r"a\b")]),
        ("-n 2 --mem 2G \\", [("ntasks", "2"), ("mem", "2G")]),
        (r'-J "a\ b"', [("job-name", "a b")]),
        (r"-J 'a\'b c'", [("job-name", "a'b c")]),
        ("-J a\"b c\"d'e f'", [("job-name", "ab cde f")]),
        ("-J a#b -t 3", [("job-name", "a")]),
        ('-J "a # b" # c', [("job-name", "a # b")]),
        ('-J ":"', [("job-name", ":")]),
        ('-J "hetjob"', [("job-name", "hetjob")]),
        ("-HN 3", [("hold", None), ("nodes", "3")]),
        ("-HN3", [("hold", None), ("nodes", "3")]),
        ("\t-N\t2\r", [("nodes", "2")]),
        ("--nice --requeue", [("nice", None), ("requeue", None)]),
        ("--nodes=2 --", [("nodes", "2")]),
        ("", []),
        ("# only a comment", []),
    ],
)
def test_words_of_a_directive(line, wanted):
    assert words(line) == wanted


def test_the_mark_needs_no_blank_but_an_option():
    found = script_settings("#!/bin/sh\n#SBATCH--time=5\n")
    assert [(s.name, s.line) for _, s in found] == [("time", 2)]
    with pytest.raises(BadDirective) as caught:
        script_settings("#!/bin/sh\n#SBATCHES are nice\n")
    assert caught.value.facts["line"] == 2


@pytest.mark.parametrize(
    ("line", "option"),
    [
        ("-N", "--nodes"),
        ("--nice 20", "20"),
        ("-N 2 : -n 4", ":"),
        ("packjob", "packjob"),
        ("-z", "-z"),
        ("--foo=3", "--foo"),
        ("--=3", "--"),
        ("--gpu=3", "--gpu"),
        ("-kt5", "--no-kill"),
        ("-N 1 -- -n 4", "-n"),
        ("--site=x", "--site"),
        ("--workdir=/x", "--workdir"),
        ("--wrap=x", "--wrap"),
    ],
)
def test_directives_refused_by_name_and_line(line, option):
    with pytest.raises(BadDirective) as caught:
        submission(f"#!/bin/sh\n\n#SBATCH -n 1\n#SBATCH {line}\n")
    assert caught.value.facts["option"] == option
    assert caught.value.facts["line"] == 4
    assert caught.value.facts["source"] == "script"
    assert caught.value.code == "bad_directive"


# --- precedence -----------------------------------------------------------------------------


@given(
    st.none() | st.integers(1, 999),
    st.none() | st.integers(1, 999),
    st.none() | st.integers(1, 999),
)
def test_command_line_over_environment_over_script(typed, variable, directive):
    text = "#!/bin/sh\n" + (f"#SBATCH -t {directive}\n" if directive else "")
    argv = [f"-t{typed}"] if typed else []
    environ = {"SBATCH_TIMELIMIT": str(variable)} if variable else {}
    minutes = typed or variable or directive
    assert submission(text, argv, environ).request.walltime_s == (minutes * 60 if minutes else None)


def test_the_later_of_two_wins_within_one_source():
    assert submission(argv=["-t1", "--time=2"]).request.walltime_s == 120
    assert submission(argv=["--requeue", "--no-requeue"]).request.requeue is False
    assert submission(argv=["--site=a", "-M", "b"]).request.sites == ("b",)


def test_memory_of_script_and_command_line_clash_as_in_sbatch():
    with pytest.raises(BadDirective) as caught:
        submission("#!/bin/sh\n#SBATCH --mem=4G\n", ["--mem-per-cpu=1G"])
    assert "--mem=4G (line 2)" in caught.value.message


@pytest.mark.parametrize(
    ("line", "argv", "wanted"),
    [
        ("--mem=1G", [], (1024, "node")),  # the script's, although variables are stronger
        ("-n1", ["--mem=1G"], (1024, "node")),
        ("-n1", [], (2048, "core")),
        ("--mem-per-cpu=1G", [], (2048, "core")),
    ],
)
def test_a_variable_gives_way_to_memory_of_another_kind(line, argv, wanted):
    text = f"#!/bin/sh\n#SBATCH {line}\n"
    found = submission(text, argv, {"SBATCH_MEM_PER_CPU": "2G"})
    asked = found.request.resources
    assert (asked.memory_mb, asked.memory_per) == wanted
    told = ("SBATCH_MEM_PER_CPU=2G gives way to --mem=1G (line 2), as in sbatch",)
    assert found.notes == (told if line == "--mem=1G" else ())


@pytest.mark.parametrize("option", ["-o", "-e", "-i"])
def test_none_is_nowhere(option):
    request = submission(argv=[f"{option}None"]).request
    assert "/dev/null" in (request.stdout, request.stderr, request.stdin)


def test_one_core_that_was_said_is_seen_by_the_script():
    assert submission(argv=["-c1"]).request.environment == (("SLURM_CPUS_PER_TASK", "1"),)
    assert submission(argv=["-c2"]).request.environment == ()
    assert submission().request.environment == ()


@pytest.mark.parametrize("mark", ["#PBS -N x", "#BSUB -J x"])
def test_options_of_others_are_seen_wherever_sbatch_sees_them(mark):
    with pytest.raises(BadDirective) as caught:
        submission(f"#!/bin/sh\ntrue\n{mark}\n")
    assert caught.value.facts["line"] == 3


def test_only_blanks_of_ascii_part_words():
    assert words("-J a\u00a0b -t3") == [("job-name", "a\u00a0b"), ("time", "3")]
    with pytest.raises(BadDirective) as caught:
        words("\u00a0--time=3")
    assert "U+00A0" in caught.value.hint


@pytest.mark.parametrize(
    ("environ", "option"),
    [
        ({"SBATCH_TIMELIMIT": "abc"}, "--time"),
        ({"SBATCH_TIMELIMIT": ""}, "--time"),
        ({"SBATCH_EXCLUSIVE": "user"}, "--exclusive"),
        ({"SBATCH_OVERCOMMIT": ""}, "--overcommit"),
        ({"SLURM_HINT": "multithread"}, "--hint"),
        ({"SBATCH_SIGNAL": "1" * 5000}, "--signal"),
        ({"SBATCH_MEM_PER_NODE": "1G", "SBATCH_MEM_PER_CPU": "1G"}, "--mem-per-cpu"),
    ],
)
def test_variables_are_refused_by_name(environ, option):
    with pytest.raises(BadDirective) as caught:
        submission(environ=environ)
    assert caught.value.facts["option"] == option
    assert caught.value.facts["source"] == f"environment {list(environ)[-1]}"
    assert list(environ)[-1] in caught.value.message


def test_variables_that_set_nothing():
    environ = {"SBATCH_WAIT": "no", "SBATCH_REQUEUE": "0", "SBATCH_SEGMENT_SIZE": "",
               "SBATCH_NO_KILL": "off", "SBATCH_FUTURE": "x", "SBATCH_EXCLUSIVE": "0"}  # fmt: skip
    found = submission(environ=environ)
    assert found == submission()
    assert found.client == ClientOptions()


def test_a_number_of_any_length_sets_a_flag_but_zero():
    assert submission(environ={"SBATCH_EXCLUSIVE": "1" * 5000}).request.resources.exclusive
    assert submission(environ={"SBATCH_EXCLUSIVE": "0" * 5000}) == submission()


# --- the command line -------------------------------------------------------------------------


def test_script_and_arguments():
    argv = ["-n", "2", "--", "run.sh", "-n", "9", "--", ""]
    assert script_name(argv) == "run.sh"
    found = parse(Script("#!/bin/sh\n", name="run.sh"), argv, {}, **PLACE)
    assert found.request.arguments == ("-n", "9", "--", "")
    assert found.request.resources.tasks == 2
    assert script_name(["-n", "2"]) is None


def test_wrap():
    assert wants_wrap(["--wrap", "echo hi"])
    found = parse(None, ["-n3", "--wrap=echo 'a b'"], {}, **PLACE)
    assert found.request.script == "#!/bin/sh\necho 'a b'\n"
    assert found.request.name == "wrap"
    for script, argv in (
        (None, ["--wrap=x", "job.sh"]),
        (Script("#!/bin/sh\n"), ["--wrap=x"]),
    ):
        with pytest.raises(BadDirective) as caught:
            parse(script, argv, {}, **PLACE)
        assert caught.value.facts["option"] == "--wrap"
    with pytest.raises(InvalidInput):
        parse(None, [], {}, **PLACE)


def test_heterogeneous_command_line():
    with pytest.raises(BadDirective) as caught:
        submission(argv=["-n2", ":", "-n3"])
    assert caught.value.facts["option"] == ":"
    assert caught.value.facts["source"] == "command line"


def test_standard_input_is_i_and_input_is_a_file_to_send():
    found = submission("#!/bin/sh\n#SBATCH --input=a\n", ["--input", "b", "-i", "c"])
    assert found.request.stdin == "c"
    assert found.client.inputs == ("b",)


def test_bytes_that_are_no_text():
    with pytest.raises(BadDirective):
        submission(argv=["-J", "caf\udce9"])
    with pytest.raises(BadDirective):
        parse_command([], ["echo", "caf\udce9"], {}, **PLACE)


# --- meyrin run -------------------------------------------------------------------------------


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=9), min_size=1))
def test_a_command_keeps_its_words(command):
    if command[0] in {"", ":"} or any("\0" in word for word in command):
        return  # refused by name: no program, or what divides a heterogeneous job
    found = parse_command(["--gpus=1", "-t5"], command, {"SBATCH_ACCOUNT": "p"}, **PLACE)
    assert found.request.arguments == tuple(command)
    assert found.request.project == "p"
    assert found.request.resources.accelerators == 1


def test_the_run_script_really_keeps_them(tmp_path):
    command = [
        sys.executable,
        "-c",
        "import sys; print(sys.argv[1:])",
        "a b",
        "",
        "$HOME",
        "*",
        "'",
    ]
    found = parse_command([], command, {}, **PLACE).request
    (tmp_path / "s").write_text(found.script)
    done = subprocess.run(
        ["sh", tmp_path / "s", *found.arguments], capture_output=True, text=True, check=True
    )
    assert done.stdout == "['a b', '', '$HOME', '*', \"'\"]\n"
    assert found.name == Path(sys.executable).name


@pytest.mark.parametrize(("argv", "command"), [(["x"], ["ls"]), ([], []), (["--wrap=x"], ["ls"])])
def test_no_command(argv, command):
    with pytest.raises(InvalidInput) as caught:
        parse_command(argv, command, {}, **PLACE)
    assert caught.value.hint


# --- what travels -----------------------------------------------------------------------------


def test_the_order_of_export_decides():
    environ = {"EDITOR": "vi", "HOME": "/h"}
    for export, wanted in (
        ("ALL,EDITOR=ed", [("EDITOR", "ed")]),
        ("EDITOR=ed,ALL", [("EDITOR", "vi")]),
        ("all,HOME", [("EDITOR", "vi"), ("HOME", "/h")]),
        ("NIL", []),
    ):
        found = submission(argv=[f"--export={export}"], environ=environ)
        assert list(found.request.environment) == wanted


def test_a_named_variable_that_is_not_set_is_told():
    found = submission(argv=["--export=NOPE"])
    assert found.request.environment == ()
    assert "NOPE" in found.notes[0]


def test_bytes_that_are_no_text_stay_here():
    found = submission(environ={"ODD": "caf\udce9", "GOOD": "1"})
    assert found.request.environment == (("GOOD", "1"),)
    assert "ODD" in found.notes[0]


@pytest.mark.parametrize(
    ("name", "stays"),
    [("PATH", True), ("WANDB_API_KEY", True), ("hf_token", True), ("PGPASSWORD", True),
     ("BASH_FUNC_module%%", True), ("XDG_RUNTIME_DIR", True), ("LANG", False), ("PATHS", False),
     ("KEYBOARD", False), ("MONKEY", False), ("OMP_NUM_THREADS", False), ("NO_PROXY", True)],
)  # fmt: skip
def test_what_stays(name, stays):
    assert stays_here(name) is stays


# --- the script as a file ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "word"),
    [
        (b"", "empty"),
        (b" \n\t\n", "empty"),
        (b"\xef\xbb\xbf", "empty"),
        (b"echo hi\n", "#!"),
        (b"\n#!/bin/sh\n", "#!"),
        (b"#SBATCH -n2\n#!/bin/sh\n", "#!"),
        (b"\x7fELF\x02\0\0", "NUL"),
        (b"#!/bin/sh\necho \0\n", "NUL byte in line 2"),
        (b"#!/bin/sh\necho caf\xe9\n", "UTF-8 in line 2"),
        (b"#!/bin/sh\n" + b"#" * MAX_SCRIPT_BYTES, "4 MiB"),
    ],
)
def test_what_is_no_script(raw, word):
    with pytest.raises(InvalidInput) as caught:
        read_script(raw)
    assert word in caught.value.message
    assert caught.value.hint


def test_windows_line_ends_and_mark_are_taken_away_and_told():
    script = read_script(b"\xef\xbb\xbf#!/bin/sh\r\n#SBATCH -n 2\r\necho\r\n")
    assert script.text == "#!/bin/sh\n#SBATCH -n 2\necho\n"
    assert len(script.notes) == 2
    found = parse(script, ["x.sh"], {}, **PLACE)
    assert found.request.resources.tasks == 2
    assert found.notes == script.notes


def test_files_that_cannot_be_read(tmp_path):
    for path in (tmp_path, tmp_path / "none", tmp_path / "no\0pe", tmp_path / ("x" * 300)):
        with pytest.raises(InvalidInput) as caught:
            read_script(path)
        assert caught.value.hint


def test_standard_input_and_names(tmp_path):
    script = read_script(None, io.BytesIO(b"#!/bin/sh\n"))
    assert script == Script("#!/bin/sh\n", (), "sbatch")
    path = tmp_path / "обучение.sh"
    path.write_text("#!/bin/sh\n")
    assert read_script(path).name == "обучение.sh"
    with pytest.raises(InvalidInput):
        read_script(None)


def test_a_script_is_looked_for_here_and_then_on_the_path(tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    (there / "a.sh").write_text("#!/bin/sh\n")
    assert find_script("a.sh", str(here), f"/nowhere:{there}") == there / "a.sh"
    assert find_script("./a.sh", str(here), str(there)) == here / "a.sh"
    (here / "a.sh").write_text("#!/bin/sh\n")
    assert find_script("a.sh", str(here), str(there)) == here / "a.sh"


def test_importing_is_cheap():
    code = "import sys, meyrin.client.sbatch; print({'pydantic', 'difflib'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
