"""The pages in a real browser: nothing overflows, nothing is fetched, all can be reached and printed."""

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from axe_playwright_python.sync_playwright import Axe
from chromium import open_browser
from playwright.sync_api import Browser, Page, expect
from report_inputs import SHARED, ReportInputs, make_example, make_inputs, make_view, make_weights, make_words

from s2rm.reporting.render import render
from s2rm.reporting.tables.table_writers import Table

pytestmark = [pytest.mark.browser, pytest.mark.slow]
WIDTHS = (390, 768, 1440, 1920)
# The cells of each column and each body of a table, after the column was sorted.
SORTED_CELLS = """
[...document.querySelectorAll("table.sortable")].flatMap((table) =>
  [...table.querySelectorAll("thead button")].flatMap((button, column) => {
    button.click();
    return [...table.tBodies].map((body) =>
      [...body.rows].filter((row) => !row.classList.contains("group")).map((row) => row.cells[column])
        .map((cell) => cell.dataset.value ?? cell.innerText));
  }))
"""
A4_LANDSCAPE = 1032  # CSS pixels between margins of 12 mm


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Reports of one run on drawn data, of two on real data, and of one without any picture."""
    root = tmp_path_factory.mktemp("reports")
    examples = [replace(make_example(), kind=kind) for kind in ("wrong", "poor", "good")]
    inputs = make_inputs(root / "inputs").inspect(examples, make_view(), make_weights(), make_words())
    about = {"run_id": "0f3a", "commit": "4d3c2b1 of 2026-11-30", "parameters": "preset demo"}
    (inputs.results / "mlflow.json").write_text(json.dumps(about))
    inputs.render("refshapes", root / "drawn")
    for name in ("first", "second"):
        shutil.copytree(inputs.results, root / "results" / name)
    run = "{train_on: [refcoco_unc], evaluate_on: [refcoco_unc]}"
    params = inputs.params("folder", f"+runs.first={run}", f"+runs.second={run}", "~runs.joint")
    render(params, root / "results", root / "real", shared=SHARED, ablations=[make_study()])
    ReportInputs(make_inputs(root / "plain").root).render("folder", root / "bare")
    return {name: root / name for name in ("drawn", "real", "bare")}


def make_study() -> Table:
    cells = [["full", ""], ["a", "−1.20 [−1.61, −0.80] *"], ["b", "−4.50 [−5.00, −4.00] *"], ["c", "+0.30"]]
    columns = pd.MultiIndex.from_tuples([("", "model"), ("RefCOCO", "difference")])
    return Table(
        name="ablation", title="Ablation", caption="mIoU in percent", sources=("here",) * 4, footnotes=(),
        frame=pd.DataFrame(cells, index=[""] * 4, columns=columns), decimals=2,
    )  # fmt: skip


def opened(browser: Browser, path: Path, width: int = 1440, scheme: str = "light") -> Page:
    """Open a page; `page.told` lists what it told the console and asked from elsewhere."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
    page, told = context.new_page(), []
    page.on("console", lambda message: told.append(message.text))
    page.on("pageerror", lambda error: told.append(str(error)))
    page.on("request", lambda request: told.append(request.url) if request.url.startswith("http") else None)
    page.told = told  # type: ignore[attr-defined]
    page.goto(path.as_uri())
    return page


@pytest.mark.parametrize("name", ["index.html", "examples.html"])
@pytest.mark.parametrize("report", ["drawn", "real", "bare"])
def test_no_overflow_no_error_no_request(
    browser: Browser, reports: dict[str, Path], report: str, name: str
) -> None:
    for width in WIDTHS:
        page = opened(browser, reports[report] / name, width)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.told == []  # type: ignore[attr-defined]
        page.context.close()


@pytest.mark.parametrize("name", ["index.html", "examples.html"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(
    browser: Browser, reports: dict[str, Path], scheme: str, name: str
) -> None:
    for report in reports.values():
        page = opened(browser, report / name, scheme=scheme)
        found = Axe().run(page).response["violations"]
        serious = [
            (each["id"], each["nodes"][0]["html"])
            for each in found
            if each["impact"] in ("serious", "critical")
        ]
        assert serious == []
        page.context.close()


def test_the_first_screen_says_what_and_how_good(browser: Browser, reports: dict[str, Path]) -> None:
    page = opened(browser, reports["drawn"] / "index.html")
    head = page.locator(".head").first
    box = head.bounding_box()
    assert box is not None
    assert box["y"] + box["height"] < 900
    text = head.inner_text()
    for part in ("S²RM and CASG", "mIoU [", "oIoU [", "measured on", "compared with", "trained on"):
        assert part in text
    assert "4d3c2b1 of 2026-11-30" in text
    assert "preset demo" in text


def test_every_column_is_printed(browser: Browser, reports: dict[str, Path]) -> None:
    page = opened(browser, reports["real"] / "index.html", A4_LANDSCAPE)
    page.emulate_media(media="print")
    assert page.locator("details:not([open])").count() > 0
    page.pdf()
    assert page.locator("details:not([open])").count() == 0, "what is folded is missing on paper"
    sizes = page.evaluate(
        "[...document.querySelectorAll('table')].map((each) => each.getBoundingClientRect().right)"
    )
    assert max(sizes) <= A4_LANDSCAPE


def test_a_table_is_sorted_by_keyboard(browser: Browser, reports: dict[str, Path]) -> None:
    page = opened(browser, reports["drawn"] / "index.html")
    table = page.locator("table.sortable").first
    button = table.locator("thead tr").last.locator("th").nth(1).locator("button")
    for direction, order in (("descending", -1), ("ascending", 1)):
        button.focus()
        page.keyboard.press("Enter")
        assert table.locator("thead tr").last.locator("th").nth(1).get_attribute("aria-sort") == direction
        values = [
            float(each.get_attribute("data-value") or "nan")
            for each in table.locator("tbody td:nth-child(2)").all()
        ]
        assert values == sorted(values, reverse=order < 0)


def test_every_column_is_sorted_by_its_numbers(browser: Browser, reports: dict[str, Path]) -> None:
    """Or by its texts, where a cell does not begin with a number; each group of rows by itself."""
    page = opened(browser, reports["real"] / "index.html")
    columns = 0
    for texts in page.evaluate(SORTED_CELLS):
        found = [re.match(r"[+-]?\d+(\.\d+)?", text.replace("−", "-")) for text in texts]
        numbers = [float(each[0]) for each in found if each]
        if len(numbers) == len([text for text in texts if text not in ("", "–")]):
            assert numbers == sorted(numbers, reverse=True), texts
            columns += len(numbers) > 1
    assert columns > 20
    study = page.locator("#ablations table")
    study.locator("thead button").last.evaluate("each => each.click()")
    assert study.locator("tbody th").all_inner_texts() == ["b", "a", "c", "full"]


def test_the_gallery_is_filtered(browser: Browser, reports: dict[str, Path]) -> None:
    page = opened(browser, reports["drawn"] / "examples.html")
    assert page.locator(".cards li:visible").count() == 5
    page.select_option("select[name=kind]", "another object more than the referent")
    assert page.locator(".cards li:visible").count() == 1
    expect(page.locator("output")).to_have_text("1 of 5 shown")
    page.locator("button[type=reset]").click()
    expect(page.locator("output")).to_have_text("5 of 5 shown")
