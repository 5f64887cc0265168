"""A generator fitted to a log: what it keeps of the log, and seeded jobs drawn from that.

What is kept are counts and quantiles, no row of the log and no name, so a fit can be handed on
where its log can't:

- people come in bursts: a burst ends after 20 minutes without a submission. Bursts of one job, of
  a few, of many and of very many are kept apart, since long bursts are of small jobs;
- bursts begin by the hours of a week, and days are better or worse than their hours say by a
  gamma-distributed factor with the variance of the log;
- sizes are the log's own with their frequencies; a job of a burst repeats the size before it as
  often as in the log;
- run times are quantiles within each of up to four classes of size; jobs of one burst resemble
  each other as much as their normal scores do in the log (a one-way random-effects share of
  variance: S. R. Searle, G. Casella, C. E. McCulloch, Variance Components, 1992, chapter 3);
- limits are the run time times a ratio, whose quantiles go by the run time's tenth.

Not kept: swings of weeks, what depends on the queue, and what one person always does.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.special import ndtr, ndtri

from meyrin.sim.toml_file import Table

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

BURST_GAP_S = 1200
HOUR_S, DAY_S, WEEK_H, FORTNIGHT = 3600, 86400, 168, 14
LENGTHS = (1, 5, 20)  # the most jobs of a burst of each kind but the last
CLASSES = 4
RUNS = 10  # classes of run times, for limits
GRID = np.array([0, 1, 2, 5, *range(10, 100, 5), 98, 99, 99.9, 100]) / 100
"""Where quantile functions are kept; in between they are linear in the logarithm."""

Quantiles = Annotated[tuple[float, ...], Field(strict=False, min_length=len(GRID))]


class SizeClass(Table):
    """Sizes that share one distribution of run times: [accelerators, jobs] pairs."""

    sizes: Annotated[tuple[tuple[int, int], ...], Field(strict=False, min_length=1)]
    run_s: Quantiles


class Kind(Table):
    """Bursts of about one length, and what comes in them."""

    bursts: int = Field(gt=0)
    jobs: Quantiles = Field(description="jobs of a burst")
    gap_s: Quantiles = Field(description="between two jobs of a burst")
    same_size: float = Field(ge=0, le=1, description="of a burst's further jobs")
    alike: float = Field(ge=0, le=1, description="share of variance of run times between bursts")
    classes: Annotated[tuple[SizeClass, ...], Field(strict=False, min_length=1)]

    @property
    def drawn_each(self) -> float:
        """Accelerator-seconds of a drawn job: sizes and run times of a class are independent."""
        total = sum(
            sum(size * jobs for size, jobs in one.sizes) * _mean(one.run_s) for one in self.classes
        )
        return total / sum(jobs for one in self.classes for _, jobs in one.sizes)


class Fit(Table):
    """What is kept of a log. Times in seconds, sizes in what the log counts."""

    format: Literal["meyrin-fit-1"]
    source: str = Field(min_length=1)
    sha256: str
    jobs: int = Field(gt=0)
    users: int = Field(gt=0)
    span_s: int = Field(gt=0)
    machine: int = Field(gt=0)
    work_each: float = Field(gt=0, description="accelerator-seconds of a job of the log on average")
    week: Annotated[tuple[int, ...], Field(strict=False, min_length=WEEK_H, max_length=WEEK_H)]
    days: float = Field(ge=0, description="variance of a day's factor; 0: all days alike")
    appetite: Quantiles = Field(description="bursts of a person")
    kinds: Annotated[tuple[Kind, ...], Field(strict=False, min_length=1)]
    over: Annotated[tuple[Quantiles, ...], Field(strict=False, min_length=RUNS)] = Field(
        description="limit over run time, by the run time's tenth"
    )

    @property
    def load(self) -> float:
        """What the log's jobs keep busy on average."""
        return self.jobs * self.work_each / self.span_s

    def jobs_of(self) -> Floats:
        """The part of drawn jobs that comes in bursts of each kind."""
        jobs = np.array([kind.bursts * _mean(kind.jobs) for kind in self.kinds])
        part: Floats = jobs / jobs.sum()
        return part

    @property
    def drawn_each(self) -> float:
        """Accelerator-seconds of a drawn job on average."""
        return float(self.jobs_of() @ [kind.drawn_each for kind in self.kinds])


def fit(
    submit: Ints, size: Ints, run: Ints, limit: Ints, user: Ints, span_s: int, machine: int,
    *, source: str, sha256: str,
) -> Fit:  # fmt: skip
    """The fit to jobs in order of submission, times from the log's first second.

    All arrays are int64 of one shape; `user` numbers people. ValueError without a job.
    """
    if not len(submit):
        raise ValueError("no job to fit to")
    order = np.lexsort((submit, user))
    submit, size, run, limit, user = (each[order] for each in (submit, size, run, limit, user))
    burst = bursts(submit, user)
    first = np.concatenate([[True], burst[1:] != burst[:-1]])
    begins, length = submit[first], np.bincount(burst)
    tenth = _tenths(run)
    kind = np.searchsorted(LENGTHS, length)
    return Fit(
        format="meyrin-fit-1",
        source=source,
        sha256=sha256,
        jobs=len(submit),
        users=len(np.unique(user)),
        span_s=span_s,
        machine=machine,
        work_each=float((size * run).mean()),
        week=tuple(np.bincount(begins // HOUR_S % WEEK_H, minlength=WEEK_H).tolist()),
        days=_overdispersion(begins, span_s),
        appetite=_quantiles(np.bincount(np.unique(user[first], return_inverse=True)[1])),
        kinds=tuple(
            _kind(submit[mine], size[mine], run[mine], burst[mine])
            for mine in (kind[burst] == each for each in np.unique(kind))
        ),
        over=tuple(_quantiles((limit / run)[tenth == at]) for at in range(RUNS)),
    )


def _kind(submit: Ints, size: Ints, run: Ints, burst: Ints) -> Kind:
    """The jobs of all bursts of one kind, in order of burst and submission."""
    number = np.unique(burst, return_inverse=True)[1]
    first = np.concatenate([[True], number[1:] != number[:-1]])
    return Kind(
        bursts=int(number[-1]) + 1,
        jobs=_quantiles(np.bincount(number)),
        gap_s=_quantiles(np.diff(submit)[~first[1:]]),
        same_size=_repeats(size, first),
        alike=_alike(run, number),
        classes=tuple(_classes(size, run)),
    )


def bursts(submit: Ints, user: Ints) -> Ints:
    """The number of each job's burst, for jobs in order of person and submission."""
    other = np.diff(user) != 0
    return np.cumsum(np.concatenate([[False], other | (np.diff(submit) > BURST_GAP_S)]))


def _quantiles(values: NDArray[Any]) -> tuple[float, ...]:
    if not len(values):
        return (0.0,) * len(GRID)
    return tuple(round(float(each), 6) for each in np.quantile(values, GRID))


def _overdispersion(begins: Ints, span_s: int) -> float:
    """By how much days vary more than chance makes them, as variance over the squared mean: what
    is left of the days' variance after the Poisson part (method of moments)."""
    days = span_s // DAY_S
    if days < FORTNIGHT:  # too few to tell
        return 0.0
    counts = np.bincount(np.minimum(begins // DAY_S, days - 1), minlength=days).astype(np.float64)
    usual = np.array([counts[at::7].mean() for at in range(7)])[np.arange(days) % 7]
    known = usual > 0
    ratio = counts[known] / usual[known]
    return round(max(0.0, float(ratio.var() - (1 / usual[known]).mean())), 6)


def _repeats(size: Ints, first: NDArray[np.bool_]) -> float:
    further = ~first[1:]
    return float((size[1:] == size[:-1])[further].mean()) if further.any() else 0.0


def _alike(run: Ints, burst: Ints) -> float:
    """The share of the variance of normal scores that lies between bursts (ANOVA estimator)."""
    count = len(run)
    place = np.empty(count)
    place[np.argsort(run, kind="stable")] = np.arange(count)
    score = ndtri((place + 0.5) / count)
    sizes = np.bincount(burst).astype(np.float64)
    groups = len(sizes)
    if groups < 2 or count <= groups:
        return 0.0
    means = np.bincount(burst, score) / sizes
    between = float((sizes * (means - score.mean()) ** 2).sum()) / (groups - 1)
    within = float(((score - means[burst]) ** 2).sum()) / (count - groups)
    usual = (count - float((sizes**2).sum()) / count) / (groups - 1)
    whole = between + (usual - 1) * within
    return round(float(np.clip((between - within) / whole, 0, 1)), 6) if whole > 0 else 0.0


def _classes(size: Ints, run: Ints) -> list[SizeClass]:
    """Sizes in order, cut into classes of about as many jobs each."""
    values, counts = np.unique(size, return_counts=True)
    share = (np.cumsum(counts) - counts / 2) / counts.sum()
    at = np.minimum((share * CLASSES).astype(int), CLASSES - 1)
    found = []
    for one in np.unique(at):
        mine = values[at == one]
        pairs = tuple(zip(mine.tolist(), counts[at == one].tolist(), strict=True))
        found.append(SizeClass(sizes=pairs, run_s=_quantiles(run[np.isin(size, mine)])))
    return found


def _tenths(run: Ints) -> Ints:
    place = np.empty(len(run), np.int64)
    place[np.argsort(run, kind="stable")] = np.arange(len(run))
    return place * RUNS // len(run)


# --- drawing


def draw(
    fit: Fit, chance: np.random.Generator, work: float, length_s: int, grown: float = 1.0
) -> dict[str, Any]:
    """Jobs of about `work` accelerator-seconds over `length_s`, in order of submission.

    More work makes more people, not faster ones. Sizes are times `grown`, and jobs as
    many fewer.
    """
    count = max(1, round(work / (fit.drawn_each * grown)))
    parts = [
        _drawn(kind, chance, max(1, round(count * part)), grown)
        for kind, part in zip(fit.kinds, fit.jobs_of(), strict=True)
    ]
    offsets = np.cumsum([0, *(int(part["burst"][-1]) + 1 for part in parts)])
    for part, offset in zip(parts, offsets[:-1], strict=True):
        part["burst"] += offset
    burst, along, size, run = (
        np.concatenate([part[name] for part in parts]) for name in ("burst", "along", "size", "run")
    )
    begin, user = _begins(fit, chance, int(offsets[-1]), len(burst), length_s)
    submit = (begin[burst] + along) % length_s
    over = np.empty(len(run))
    tenth, luck = _tenths(run), chance.random(len(run))
    for each in range(RUNS):
        over[tenth == each] = _inverse(fit.over[each], luck[tenth == each])
    order = np.argsort(submit, kind="stable")
    return {
        "submit": submit[order],
        "size": size[order],
        "run": run[order],
        "limit": np.maximum(run, np.ceil(run * over).astype(np.int64))[order],
        "user": user[burst][order],
    }


def _drawn(kind: Kind, chance: np.random.Generator, count: int, factor: float) -> dict[str, Ints]:
    """`count` jobs in bursts of a kind: burst, seconds from its begin, size, and run time."""
    lengths = np.zeros(0, np.int64)
    while lengths.sum() < count:
        more = _inverse(kind.jobs, chance.random(max(16, count // 4)))
        lengths = np.concatenate([lengths, np.maximum(1, np.rint(more)).astype(np.int64)])
    burst = np.repeat(np.arange(len(lengths)), lengths)[:count]
    first = np.concatenate([[True], burst[1:] != burst[:-1]])
    gaps = np.where(first, 0.0, _inverse(kind.gap_s, chance.random(count)))
    along = np.cumsum(gaps)
    size, at = _sizes(kind, chance, first)
    return {
        "burst": burst,
        "along": (along - along[first][burst]).astype(np.int64),
        "size": np.maximum(1, np.round(size * factor)).astype(np.int64),
        "run": _runs(kind, chance, burst, at),
    }


def _inverse(quantiles: tuple[float, ...], at: Floats) -> Floats:
    """A quantile function, linear in log(1 + x) between the points of the grid."""
    found: Floats = np.expm1(np.interp(at, GRID, np.log1p(np.array(quantiles))))
    return found


def _mean(quantiles: tuple[float, ...]) -> float:
    return float(_inverse(quantiles, (np.arange(10_000) + 0.5) / 10_000).mean())


def _begins(
    fit: Fit, chance: np.random.Generator, bursts_: int, count: int, length_s: int
) -> tuple[Ints, Ints]:
    """When each burst begins, and whose it is."""
    hours = max(1, length_s // HOUR_S)
    weight = np.array(fit.week, np.float64)[np.arange(hours) % WEEK_H]
    if fit.days > 0:
        days = -(-hours // 24)
        factor = chance.gamma(1 / fit.days, fit.days, days)
        weight *= factor[np.arange(hours) // 24]
    if weight.sum() <= 0:
        weight[:] = 1
    hour = chance.choice(hours, bursts_, p=weight / weight.sum())
    begin = hour.astype(np.int64) * HOUR_S + chance.integers(0, HOUR_S, bursts_)
    people = max(1, round(fit.users * count / fit.jobs))
    appetite = _inverse(fit.appetite, (np.arange(people) + 0.5) / people)
    user = chance.choice(people, bursts_, p=appetite / appetite.sum())
    return begin, user.astype(np.int64)


def _sizes(kind: Kind, chance: np.random.Generator, first: NDArray[np.bool_]) -> tuple[Ints, Ints]:
    """The size of each job, and its class. Further jobs of a burst often repeat the last."""
    pairs = [(size, jobs, at) for at, one in enumerate(kind.classes) for size, jobs in one.sizes]
    often = np.array([jobs for _, jobs, _ in pairs], np.float64)
    drawn = chance.choice(len(pairs), len(first), p=often / often.sum())
    fresh = first | (chance.random(len(first)) >= _fresh(kind, often))
    last = np.maximum.accumulate(np.where(fresh, np.arange(len(first)), 0))
    which = drawn[last]
    size = np.array([size for size, _, _ in pairs], np.int64)[which]
    return size, np.array([at for _, _, at in pairs], np.int64)[which]


def _fresh(kind: Kind, often: Floats) -> float:
    """How often a size is taken over, so that with equal draws it repeats as often as it did."""
    equal = float(((often / often.sum()) ** 2).sum())
    return max(0.0, (kind.same_size - equal) / (1 - equal)) if equal < 1 else 0.0


def _runs(kind: Kind, chance: np.random.Generator, burst: Ints, at: Ints) -> Ints:
    shared = chance.standard_normal(int(burst[-1]) + 1)[burst]
    own = chance.standard_normal(len(burst))
    place = ndtr(np.sqrt(kind.alike) * shared + np.sqrt(1 - kind.alike) * own)
    run = np.empty(len(burst))
    for each, one in enumerate(kind.classes):
        run[at == each] = _inverse(one.run_s, place[at == each])
    return np.maximum(1, np.rint(run)).astype(np.int64)
