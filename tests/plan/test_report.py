"""The report: every number confirmed by a second program, and a page that people can read."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from tests import components
from tests.plan import second, second_words, studies

from meyrin.domain.errors import InvalidInput
from meyrin.plan import differences, measures
from meyrin.plan.impact import Asked, study
from meyrin.plan.report import figures, write
from meyrin.plan.report.gather import Study
from meyrin.plan.report.tables import csv_bytes, tables
from meyrin.plan.scenario import load_scenario
from meyrin.plan.sweep import Here

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Study]:
    """The report of a cut-down small example, in a folder."""
    folder = tmp_path_factory.mktemp("study")
    scenario = studies.cut(folder / "in")
    return folder / "out", studies.run(scenario, folder / "out")


@pytest.fixture(scope="module")
def own(made: tuple[Path, Study]) -> dict[str, pd.DataFrame]:
    """What the second program finds."""
    return second.own(made[0])


def test_a_second_program_finds_every_number(
    made: tuple[Path, Study], own: dict[str, pd.DataFrame]
) -> None:
    assert second.compared(second.told(made[0]), own) == []


@pytest.fixture(scope="module")
def words(made: tuple[Path, Study]) -> second_words.Words:
    """The second program's reading of the sentences."""
    return second_words.Words(made[0])


def test_a_second_program_finds_every_number_in_words(words: second_words.Words) -> None:
    assert words.wrong() == []


def test_a_number_changed_in_a_sentence_is_found(words: second_words.Words) -> None:
    said = [one for answer in words.summary["answers"].values() for one in answer]
    numbers = 0
    for sentence in said:
        for hit in re.finditer(r"\d+(?:\.\d+)?", sentence):
            other = f"{float(hit[0]) * 1.02 + 1:.4g}"
            changed = sentence[: hit.start()] + other + sentence[hit.end() :]
            assert list(words.sentence(changed)), changed
            numbers += 1
    assert numbers > 25
    assert list(words.sentence("Everybody waits 3 h less."))
    html = words.page
    words.page = html.replace("<h2 id=", "<p>12 of 13 people agree.</p><h2 id=", 1)
    assert list(words.rest(said)) == ["cannot be accounted for: <p> 12 of 13 people agree."]
    words.page = html


@pytest.mark.parametrize("table", ["levels", "differences", "waterfall", "tornado-cost", "lorenz"])
def test_a_number_changed_in_a_table_is_found(
    made: tuple[Path, Study], own: dict[str, pd.DataFrame], table: str
) -> None:
    told = second.told(made[0])
    frame = told[table]
    columns = [c for c in frame.select_dtypes("float").columns if c not in second.GIVEN]
    column = max(columns, key=lambda c: frame[c].abs().max())
    largest = frame[column].abs().idxmax()
    frame.loc[largest, column] += 1e-6 * max(1.0, abs(frame.loc[largest, column]))
    found = second.compared(told, own)
    assert len(found) == 1
    assert found[0].startswith(f"{table}.csv, {column}")


def _wrong_quantiles(values: Any, order: Any, first: Any, number: Any, percent: int) -> Any:
    return measures_quantiles(values, order, first, number, 95 if percent == 90 else percent)


measures_quantiles = measures._quantiles
PLANTED = {
    "who is masked": (measures, "FEWEST_USERS", 10**6),
    "an interval of the normal distribution": (differences, "t_factor", lambda _: 1.96),
    "a quantile": (measures, "_quantiles", _wrong_quantiles),
    "the end of the run": (measures, "HOUR_S", 3601),
}


@pytest.mark.parametrize("plant", PLANTED)
def test_an_error_in_the_measures_is_found(
    made: tuple[Path, Study],
    own: dict[str, pd.DataFrame],
    plant: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    honest = second.told(made[0])
    monkeypatch.setattr(*PLANTED[plant])
    asked = Asked(load_scenario(made[0].parent / "in" / "scenario.toml"))
    wrong = tables(study(asked, made[0], Here(1), lambda: 0.0, read=measures.worked_out))
    told = {
        name: pd.read_csv(io.BytesIO(csv_bytes(wrong[name])), dtype=second.WORDS,
                          keep_default_na=False, na_values=[""])
        for name in honest
    }  # fmt: skip
    assert second.compared(told, own)


def test_a_point_leaves_what_its_tables_say(made: tuple[Path, Study]) -> None:
    for note in sorted((made[0] / "points").glob("*/*/point.json")):
        left, again = (read(note.parent) for read in (measures.kept, measures.worked_out))
        keys = ["dimension", "slice"]
        a, b = (each.rows.set_index(keys).sort_index() for each in (left, again))
        pd.testing.assert_frame_equal(a, b, rtol=1e-12)
        assert {name: set(few) for name, few in left.few.items()} == {
            name: set(few) for name, few in again.few.items()
        }


def test_the_same_study_gives_the_same_bytes(made: tuple[Path, Study]) -> None:
    out, found = made
    files = write.report(found)
    assert {name: (out / name).read_bytes() for name in files} == files


def test_every_figure_has_table_picture_and_command(made: tuple[Path, Study]) -> None:
    out, _ = made
    page = (out / "report.html").read_text()
    shown = re.findall(r'<figure id="([^"]+)">', page)
    assert {"map", "waterfall", "options", "pareto", "lorenz", "countries"} <= set(shown)
    assert {"tornado-wait", "tornado-cost"} <= set(shown)
    for name in shown:
        assert (out / "tables" / f"{name}.csv").stat().st_size > 0
        assert (out / "figures" / f"{name}.svg").read_text().startswith("<svg")
        assert (out / "figures" / f"{name}.png").read_bytes()[:4] == b"\x89PNG"
        assert f"--figure {name}</code>" in page
        assert f'download="{name}.csv"' in page
    for path in (out / "tables").glob("*.csv"):
        head = path.read_text().splitlines()[0]
        assert re.fullmatch(r"[a-z0-9_,]+", head), path


def test_one_figure_can_be_redone(made: tuple[Path, Study]) -> None:
    files = write.report(made[1], ["waterfall"])
    assert sorted(files) == [
        "figures/waterfall.png",
        "figures/waterfall.svg",
        "tables/waterfall.csv",
    ]
    with pytest.raises(InvalidInput, match="'cake' is no figure"):
        write.report(made[1], ["cake"])


def test_the_page_needs_nothing_from_elsewhere(made: tuple[Path, Study]) -> None:
    page = (made[0] / "report.html").read_text()
    assert "<script" not in page
    addresses = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert all(each.startswith(("#", "data:text/csv;")) for each in addresses)


@pytest.fixture(params=[(1280, 900), (390, 844)], ids=["desk", "phone"])
def opened(request: pytest.FixtureRequest, made: tuple[Path, Study], browser: Browser) -> Iterator:
    width, height = request.param
    context = browser.new_context(
        viewport={"width": width, "height": height}, java_script_enabled=True
    )
    page = context.new_page()
    heard: list[str] = []
    page.on("console", lambda message: heard.append(message.text))
    page.on("requestfailed", lambda failed: heard.append(failed.url))
    page.goto((made[0] / "report.html").as_uri())
    yield page, heard
    context.close()


def test_a_browser_draws_all_figures(opened: Any, axe_source: str) -> None:
    page, heard = opened
    drawn = page.eval_on_selector_all(
        "figure .picture svg",
        """all => all.filter(svg => svg.getBoundingClientRect().width).map(svg => {
            const box = svg.getBoundingClientRect();
            const letters = [...svg.querySelectorAll('text')].filter(t => t.textContent.trim());
            const smallest = Math.min(...letters.map(t =>
                parseFloat(getComputedStyle(t).fontSize) * box.width / svg.viewBox.baseVal.width));
            const into = svg.closest('.picture');
            return {width: box.width, height: box.height, smallest,
                    scrolls: into.scrollWidth > into.clientWidth,
                    figure: svg.closest('figure').id,
                    marks: svg.querySelectorAll('path, rect, line, circle').length};
        })""",
    )
    assert len(drawn) >= len(figures.FIGURES) - 1  # years: this run stays within one
    for each in drawn:
        assert each["width"] > 220
        assert each["height"] > 100
        assert each["marks"] > 5
        assert each["smallest"] >= 9.5, each
        assert not each["scrolls"], each
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    page.evaluate(axe_source)
    broken = page.evaluate(components.AXE_FAULTS)
    assert [(each["id"], each["nodes"][0]["html"]) for each in broken] == []
    assert heard == []


def test_labels_of_a_figure_do_not_lie_on_each_other(opened: Any) -> None:
    page, _ = opened
    over = page.eval_on_selector_all(
        "figure",
        """all => all.flatMap(figure => {
            const texts = [...figure.querySelectorAll('.picture svg text')]
                .filter(t => t.textContent.trim() && getComputedStyle(t).opacity !== '0'
                    && t.getBoundingClientRect().width)
                .map(t => [t.textContent, t.getBoundingClientRect()]);
            const found = [];
            for (let i = 0; i < texts.length; i++) for (let j = 0; j < i; j++) {
                const [a, b] = [texts[i][1], texts[j][1]];
                const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
                const high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
                if (wide > 2 && high > 4) found.push([figure.id, texts[i][0], texts[j][0]]);
            }
            return found;
        })""",
    )
    assert over == []
