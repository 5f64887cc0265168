"""One shard of a run, in a process of its own: the only module that knows Inspect.

    python -m meyrin.suites.runner SPEC.json

Draws the suite's items, lets Inspect ask the model and score, and adds one line for each finished
sample to `samples.jsonl` as it comes; whoever starts it again goes on with what is missing.
"""

from __future__ import annotations

import errno
import json
import os
import re
import socket
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from inspect_ai import Task
from inspect_ai import eval as inspect_eval
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.hooks import Hooks, SampleEnd, hooks
from inspect_ai.log import EvalSample
from inspect_ai.model import (
    ChatMessage,
    GenerateConfig,
    Model,
    ModelAPI,
    ModelOutput,
    ModelUsage,
    get_model,
    modelapi,
)
from inspect_ai.model._providers.mockllm import MockLLM
from inspect_ai.scorer import Score, Scorer, Target, mean, scorer, value_to_float
from inspect_ai.solver import Generate, Solver, TaskState, solver
from inspect_ai.tool import ToolChoice, ToolInfo

from meyrin.domain.errors import Failed, InvalidInput, MeyrinError
from meyrin.suites.environment import data_digest, environment_digest
from meyrin.suites.facts import SampleFact, sample_line
from meyrin.suites.item import SCORERS, Item, wanted_address
from meyrin.suites.relay import ASKING, PATIENCE_S
from meyrin.suites.spec import (
    LINES,
    LOGS,
    META,
    MOCK,
    PROBLEM,
    REACHED,
    Spec,
    mended_lines,
    read_lines,
)
from meyrin.suites.suite import INSPECT_EVALS, Suite, TaskEntry, find, read
from meyrin.suites.tiny import TinyModel, load

ENGINE = "inspect-ai"


# --- the model


async def _count_words(_self: ModelAPI, text: str) -> int:
    return len(text.split())


# The mend: Inspect's mock (and any provider without a tokenizer of its own) would count tokens
# with a vocabulary that it fetches from the network. Words do for what counts nothing.
MockLLM.count_text_tokens = _count_words  # type: ignore[assignment,method-assign]


class TinyAPI(ModelAPI):
    """Inspect's view of a tiny model: the last message in, one greedy answer out."""

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: GenerateConfig = GenerateConfig(),  # noqa: B008 - Inspect's own signature
        *,
        folder: str = "",
        chars: int = 16_384,
    ) -> None:
        super().__init__(model_name, base_url, api_key, [], config)
        self.model: TinyModel = load(Path(folder or model_name))
        self.chars = chars

    async def count_text_tokens(self, text: str) -> int:
        return len(self.model.encode(text))

    def max_connections(self) -> int:
        return 1 << 10

    async def generate(
        self,
        input: list[ChatMessage],  # noqa: A002 - Inspect's name
        tools: list[ToolInfo],  # noqa: ARG002
        tool_choice: ToolChoice,  # noqa: ARG002
        config: GenerateConfig,
    ) -> ModelOutput:
        asked = input[-1].text
        text = self.model.answer(asked, config.max_tokens or 64)[: self.chars]
        output = ModelOutput.from_content(self.model_name, text)
        seen, made = len(asked.split()), len(text.split())
        output.usage = ModelUsage(input_tokens=seen, output_tokens=made, total_tokens=seen + made)
        return output


@modelapi(name="meyrin")
def _provider() -> type[ModelAPI]:
    return TinyAPI


class EndpointAPI(ModelAPI):
    """A served model with the common `/chat/completions`, asked through the jail's relay."""

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: GenerateConfig = GenerateConfig(),  # noqa: B008 - Inspect's own signature
        *,
        relay: str = "",
    ) -> None:
        super().__init__(model_name, base_url, api_key, [], config)
        self.relay = relay

    def max_connections(self) -> int:
        return 1 << 10

    async def count_text_tokens(self, text: str) -> int:
        return len(text.split())

    async def generate(
        self,
        input: list[ChatMessage],  # noqa: A002 - Inspect's name
        tools: list[ToolInfo],  # noqa: ARG002
        tool_choice: ToolChoice,  # noqa: ARG002
        config: GenerateConfig,
    ) -> ModelOutput:
        import httpx2  # noqa: PLC0415 - only where a model is served

        body = {
            "model": self.model_name,
            "messages": [{"role": each.role, "content": each.text} for each in input],
            "temperature": 0,
            "seed": config.seed,
            "max_tokens": config.max_tokens,
        }
        through = httpx2.AsyncHTTPTransport(uds=self.relay, trust_env=False)
        # the relay's own patience is shorter: its words are the ones that are heard
        async with httpx2.AsyncClient(transport=through, timeout=PATIENCE_S + 10) as client:
            answer = await client.post(f"http://model{ASKING}", json=body)
            answer.raise_for_status()
            told = answer.json()["choices"][0]["message"]["content"]
        return ModelOutput.from_content(self.model_name, str(told or ""))


@modelapi(name="endpoint")
def _endpoint() -> type[ModelAPI]:
    return EndpointAPI


def open_model(where: str, chars: int, relay: str = "") -> Model:
    """The model at `where`, or of that name behind a relay; InvalidInput when there is none that
    can be loaded."""
    if where == MOCK:
        return get_model("mockllm/model", memoize=False)
    if relay:
        return get_model(f"endpoint/{where}", memoize=False, relay=relay)
    # the folder is no part of the name: the same model has the same log at every site
    return get_model("meyrin/model", memoize=False, folder=where, chars=chars)


# --- the tasks


def _scorer_of(name: str, judge_by: str, suite: Suite) -> Scorer:
    score = SCORERS[judge_by]

    @scorer(metrics=[mean()], name=name)
    def made() -> Scorer:
        async def judge(state: TaskState, target: Target) -> Score | None:
            cluster = str(state.metadata.get("cluster", ""))
            item = Item(str(state.sample_id), state.input_text, target.text, cluster)
            value = score(item, state.output.completion, suite.canary)
            return None if value is None else Score(value=value)

        return judge

    return made()


@solver
def _asking(out: str) -> Solver:
    """Ask once. A model that asks for the network gets the connection that the jail allows."""

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        state = await generate(state)
        address = wanted_address(state.output.completion)
        if address:
            told = {"sample": str(state.sample_id), "address": address, "came": _reach(address)}
            with (Path(out) / REACHED).open("a", encoding="utf-8") as file:
                file.write(json.dumps(told, sort_keys=True) + "\n")
        return state

    return solve


def _reach(address: str) -> str:
    try:
        socket.create_connection((address, 80), timeout=1).close()
    except (OSError, UnicodeError) as error:  # a name that no network could have
        return f"held: {type(error).__name__}"
    return "connected"


def _native(entry: TaskEntry, suite: Suite) -> Task:
    """An Inspect task by `module:function` of the suite's package, or by its registered name."""
    import importlib  # noqa: PLC0415

    if entry.inspect.startswith(INSPECT_EVALS):
        made = _announced(entry.name)()
    else:
        place, _, function = entry.inspect.partition(":")
        made = getattr(importlib.import_module(f"{suite.package}.{place}"), function)()
    if not isinstance(made, Task):
        raise InvalidInput(f"{entry.inspect} makes no Inspect task", field="inspect")
    return made


def _announced(name: str) -> Callable[[], object]:
    """A task of inspect_evals by the name that the package announces to Inspect: in the module of
    that name, or where its entry point leads, for modules that hold several tasks."""
    import importlib  # noqa: PLC0415
    from importlib.metadata import entry_points  # noqa: PLC0415

    package = INSPECT_EVALS.rstrip("/")
    announced = [each.value for each in entry_points(group="inspect_ai") if each.name == package]
    for place in (f"{package}.{name}", *announced):
        try:
            made = getattr(importlib.import_module(place), name, None)
        except ModuleNotFoundError as error:
            if error.name != f"{package}.{name}":
                raise InvalidInput(
                    f"{INSPECT_EVALS}{name} needs {error.name}, which is not installed here",
                    hint="install what the task asks for at the site",
                    field="suite",
                ) from error
            continue
        if callable(made):
            return cast("Callable[[], object]", made)
    raise InvalidInput(
        f"the package {package} that is installed here has no task {name}",
        hint="its own documentation lists them",
        field="suite",
    )


@dataclass(slots=True)
class _Part:
    """One task with all of its samples; those of a shard are chosen from them later."""

    entry: TaskEntry
    task: Task | None
    samples: list[Sample]


def _parts(suite: Suite, seed: int, samples: int) -> list[_Part]:
    counts = suite.counts(samples or suite.samples)
    found = []
    for entry in suite.tasks:
        if entry.items:
            items = suite.draw(entry, seed, counts[entry.name])
            made = [
                Sample(id=i.id, input=i.input, target=i.target, metadata={"cluster": i.cluster})
                for i in items
            ]
            found.append(_Part(entry, None, made))
            continue
        task = _native(entry, suite)
        wanted = counts[entry.name] or None
        made = []
        for number, sample in enumerate(list(task.dataset)[:wanted]):
            sample.id = str(number if sample.id is None else sample.id)
            sample.metadata = {**(sample.metadata or {})}
            sample.metadata.setdefault("cluster", sample.metadata.get(suite.cluster_key, sample.id))
            made.append(sample)
        found.append(_Part(entry, task, made))
    return found


def _task_of(part: _Part, samples: Sequence[Sample], suite: Suite, out: str) -> Task:
    if part.task is not None:
        part.task.dataset = MemoryDataset(list(samples), name=part.entry.name)
        return part.task
    return Task(
        name=part.entry.name,
        dataset=MemoryDataset(list(samples), name=part.entry.name),
        solver=_asking(out),
        scorer=[_scorer_of(name, by, suite) for name, by in part.entry.judged.items()],
    )


def _as_item(sample: Sample) -> Item:
    target = sample.target if isinstance(sample.target, str) else json.dumps(sample.target)
    asked = sample.input if isinstance(sample.input, str) else _text(sample.input)
    return Item(str(sample.id), asked, target, str((sample.metadata or {})["cluster"]))


def _text(messages: Iterable[ChatMessage]) -> str:
    return "\n".join(f"{each.role}: {each.text}" for each in messages)


# --- the facts


class _Notes:
    """Adds each finished sample to the file at once; a failure to write is kept and raised."""

    file: int = -1
    chars: int = 16_384
    names: tuple[tuple[str, tuple[str, ...]], ...] = ()
    trouble: Exception | None = None

    def add(self, sample: EvalSample, task: str) -> None:
        try:
            self._write(sample_line(self.fact(sample, task)) + b"\n")
        except (OSError, MeyrinError) as error:
            self.trouble = self.trouble or error

    def _write(self, line: bytes) -> None:
        """A whole line or nothing: on a full disk a part of it would be taken for the next one."""
        before = os.fstat(self.file).st_size
        if os.write(self.file, line) < len(line):
            os.ftruncate(self.file, before)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def fact(self, sample: EvalSample, task: str) -> SampleFact:
        expected = dict(self.names).get(task) or tuple(sample.scores or ())
        found = sample.scores or {}
        scores = {name: _value(found.get(name)) for name in expected}
        target = sample.target if isinstance(sample.target, str) else json.dumps(sample.target)
        return SampleFact(
            id=f"{task}/{sample.id}",
            epoch=sample.epoch,
            task=task,
            cluster=str(sample.metadata.get("cluster", sample.id)),
            input=sample.input if isinstance(sample.input, str) else _text(sample.input),
            target=target,
            output=sample.output.completion[: self.chars],
            scores=tuple(sorted(scores.items())),
            error=_kind(sample.error.traceback) if sample.error else "",
        )


def _value(score: Score | None) -> float | None:
    if score is None or isinstance(score.value, dict | list | tuple):
        return None
    number = value_to_float()(score.value)
    return number if abs(number) < float("inf") else None


def _kind(traceback: str) -> str:
    """The name of what was raised: the message may tell times and places, which are no facts."""
    kind, before = "Error", " "
    for line in traceback.splitlines():
        found = _RAISED.match(line)
        if found and before.startswith(" "):  # below the code; its message may have further lines
            kind = found[1][:80]
        before = line
    return kind


_RAISED = re.compile(r"(?:\w+\.)*([A-Za-z_]\w*)(?::|$)")
NOTES = _Notes()
_TASKS: dict[str, str] = {}  # eval id → the task's name


@hooks(name="meyrin", description="Notes each finished sample as a fact")
class _Hook(Hooks):
    async def on_sample_end(self, data: SampleEnd) -> None:
        NOTES.add(data.sample, str(data.sample.metadata.get("meyrin_task", "")))


def run(spec: Spec) -> int:
    """Run what is missing of a shard; how many of its samples are finished."""
    suite = read(Path(spec.folder), spec.package) if spec.folder else find(spec.suite)
    if spec.folder and "." not in spec.package:  # a suite in a folder, installed nowhere
        sys.path.insert(0, str(Path(spec.folder).parent))
    out = Path(spec.out)
    model = open_model(spec.model, suite.limits.output_chars, spec.relay)
    parts = _parts(suite, spec.seed, spec.samples)
    everything = [(part.entry.name, _as_item(s)) for part in parts for s in part.samples]
    meta = {
        "planned": len(everything),
        "data": data_digest(everything),
        "environment": environment_digest(Path(spec.folder) if spec.folder else None),
        "engine": f"{ENGINE} {_version()}",
    }
    (out / META).write_text(json.dumps(meta), encoding="utf-8")
    lines = out / LINES
    done = mended_lines(lines)
    tasks, number = [], -1
    for part in parts:
        mine = []
        for sample in part.samples:
            number += 1
            known = (f"{part.entry.name}/{sample.id}", 1) in done
            if number % spec.shards == spec.shard and not known:
                sample.metadata = {**(sample.metadata or {}), "meyrin_task": part.entry.name}
                mine.append(sample)
        if mine:
            tasks.append(_task_of(part, mine, suite, spec.out))
    NOTES.names = tuple((p.entry.name, tuple(p.entry.judged)) for p in parts)
    NOTES.chars = suite.limits.output_chars
    NOTES.trouble = None
    NOTES.file = os.open(lines, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    if tasks:
        _evaluate(tasks, model, spec, suite)
    if NOTES.trouble:
        raise Failed(f"a finished sample could not be kept: {NOTES.trouble}") from NOTES.trouble
    return len(read_lines(lines))


def _evaluate(tasks: list[Task], model: Model, spec: Spec, suite: Suite) -> None:
    logs = inspect_eval(
        tasks,
        model=model,
        display="none",
        log_dir=str(Path(spec.out) / LOGS),
        log_format="eval",
        log_realtime=False,
        log_model_api=False,
        log_images=False,
        score_display=False,
        fail_on_error=False,
        retry_on_error=0,
        max_samples=spec.concurrency,
        max_tasks=1,
        acp_server=False,
        seed=spec.seed,
        temperature=0,
        max_tokens=suite.limits.output_tokens,
    )
    for log in logs:
        if log.status != "success":
            why = log.error.message if log.error else log.status
            raise Failed(
                f"Inspect ended task {log.eval.task} with {log.status}: {why[:500]}",
                hint="what was finished is kept; the same command goes on",
            )


def _version() -> str:
    from importlib.metadata import version  # noqa: PLC0415

    return version("inspect-ai")


def main() -> int:
    spec = Spec(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    try:
        run(spec)
    except MeyrinError as error:
        problem = {"code": error.code, "message": error.message, "hint": error.hint}
        (Path(spec.out) / PROBLEM).write_text(json.dumps(problem), encoding="utf-8")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
