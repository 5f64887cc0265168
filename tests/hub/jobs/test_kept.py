"""What is kept of a request: only what it says, and all of that; equal requests are the same."""

from __future__ import annotations

from dataclasses import MISSING, fields, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from meyrin.domain.job import (
    ArraySpec,
    Dependency,
    DependencyKind,
    InputFile,
    JobRequest,
    Resources,
    WarnSignal,
)
from meyrin.hub.jobs.service import request_of
from meyrin.hub.jobs.submit import REQUEST, _prepare
from meyrin.wire.jobs import Submission

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)
TEXTS = st.lists(TEXT, max_size=2).map(tuple)
FEW = st.integers(1, 3)
MAYBE = st.none() | FEW
DEPENDENCY = st.builds(Dependency, st.just(DependencyKind.AFTER_OK), FEW, MAYBE) | st.just(
    Dependency(DependencyKind.SINGLETON)
)
VALUES = {
    "script": TEXT.filter(bool),
    "name": TEXT.filter(bool),
    "arguments": TEXTS,
    "project": st.none() | TEXT,
    "sites": TEXTS,
    "partitions": TEXTS,
    "resources": st.builds(
        Resources,
        nodes_min=MAYBE,
        tasks=MAYBE,
        cores_per_task=FEW,
        memory_mb=st.none() | st.integers(0, 1),
        accelerators=st.integers(0, 1),
        accelerators_per=st.sampled_from(["job", "node", "task"]),
        exclusive=st.booleans(),
    ),
    "walltime_s": MAYBE,
    "array": st.none()
    | st.builds(
        ArraySpec, st.sets(FEW, min_size=1).map(sorted).map(tuple), max_running=st.integers(0, 1)
    ),
    "dependencies": st.lists(DEPENDENCY, max_size=2).map(tuple),
    "any_dependency": st.booleans(),
    "kill_on_invalid_dependency": st.booleans(),
    "begin_s": st.none() | st.integers(0, 1),
    "deadline_s": st.none() | st.integers(0, 1),
    "held": st.booleans(),
    "nice": st.integers(-1, 1),
    "features": TEXTS,
    "requeue": st.booleans(),
    "environment": st.lists(st.tuples(st.sampled_from("AB"), TEXT), max_size=2).map(tuple),
    "submit_dir": st.none() | TEXT,
    "submit_host": st.none() | TEXT,
    "chdir": st.none() | TEXT,
    "stdin": st.none() | TEXT,
    "stdout": st.none() | TEXT,
    "stderr": st.none() | TEXT,
    "append_output": st.booleans(),
    "warn_signal": st.none() | st.builds(WarnSignal, TEXT, before_s=st.sampled_from([1, 60])),
    "inputs": st.lists(
        st.builds(InputFile, st.just("a"), st.just("0" * 64), FEW, executable=st.booleans()),
        max_size=2,
    ).map(tuple),
    "output_files": st.lists(st.just("*.out"), max_size=2).map(tuple),
    "comment": TEXT,
}
OTHERS = {name: values for name, values in VALUES.items() if name != "script"}
REQUESTS = st.fixed_dictionaries({"script": VALUES["script"]}, optional=OTHERS).map(
    lambda said: JobRequest(**said)
)

few = settings(max_examples=50, deadline=None)


def kept(request):
    return _prepare(Submission(request=request, idempotency_key="a-key-of-mine"), "prj_x")


def test_every_field_is_tried():
    assert VALUES.keys() == {field.name for field in fields(JobRequest)}


@few
@given(REQUESTS)
def test_a_kept_request_is_read_as_it_was_sent(request):
    one = kept(request)
    assert request_of(one.spec, request.script) == request
    whole = REQUEST.dump_json(request)  # with everything that goes without saying
    assert kept(REQUEST.validate_json(whole)).digest == one.digest


@few
@given(REQUESTS, st.data())
def test_one_field_that_differs_is_another_request(request, data):
    name = data.draw(st.sampled_from(sorted(VALUES)))
    other = replace(request, **{name: data.draw(VALUES[name])})
    assert (kept(request).digest == kept(other).digest) == (request == other)


def test_what_goes_without_saying_stays_what_it_is():
    """Kept requests do not say it: another default would change what people asked for."""
    assert REQUEST.dump_python(JobRequest(script="x"), mode="json") == {
        "script": "x",
        "name": "job",
        "resources": {
            **dict.fromkeys(("nodes_min", "nodes_max", "tasks", "tasks_per_node", "memory_mb")),
            "cores_per_task": 1,
            "memory_per": "node",
            "accelerators": 0,
            "accelerators_per": "job",
            "accelerator_type": None,
            "exclusive": False,
        },
        **dict.fromkeys(("project", "walltime_s", "array", "begin_s", "deadline_s")),
        **dict.fromkeys(("submit_dir", "submit_host", "chdir", "stdin", "stdout", "stderr")),
        "warn_signal": None,
        **{name: [] for name in ("arguments", "sites", "partitions", "dependencies")},
        **{name: [] for name in ("features", "environment", "inputs", "output_files")},
        **dict.fromkeys(("any_dependency", "held", "requeue", "append_output"), False),
        "kill_on_invalid_dependency": True,
        "nice": 0,
        "comment": "",
    }
    inner = {
        f"{kind.__name__}.{field.name}": field.default
        for kind in (ArraySpec, Dependency, InputFile, WarnSignal)
        for field in fields(kind)
        if field.default is not MISSING
    }
    assert inner == {
        "ArraySpec.max_running": 0,
        "Dependency.job": None,
        "Dependency.element": None,
        "InputFile.executable": False,
        "WarnSignal.before_s": 60,
        "WarnSignal.shell_only": False,
    }
