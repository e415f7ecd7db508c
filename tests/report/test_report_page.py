"""The report's page in a real browser: on a phone, on a desk, in the light and in the dark, without a network."""

import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from made_runs import make_study_runs

from hf_bertx.report.page import page
from hf_bertx.report.records import read_runs
from hf_bertx.report.write import Report, build_report

BROWSER = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium on PATH: apt-get install chromium")
# WCAG's contrast of two colors, and the contrast of an element's text with the ground painted behind it.
SCRIPT = """
    const clear = color => color === 'rgba(0, 0, 0, 0)' || color === 'transparent';
    const light = color => {
        const linear = color.match(/[0-9.]+/g).slice(0, 3).map(Number).map(value => value / 255)
            .map(c => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
    };
    const ground = each => {
        while (each.parentElement && clear(getComputedStyle(each).backgroundColor)) each = each.parentElement;
        return getComputedStyle(each).backgroundColor;
    };
    const contrast = (selector, property = 'color') => {
        const each = document.querySelector(selector);
        const [low, high] = [getComputedStyle(each)[property], ground(each)].map(light).sort((a, b) => a - b);
        return (high + 0.05) / (low + 0.05);
    };
"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """With one figure of each kind."""
    root = tmp_path_factory.mktemp("page") / "runs"
    make_study_runs(root, seeds=3, items=60)
    report = build_report(read_runs(root), resamples=100)
    return replace(report, panels=list({panel.kind: panel for panel in report.panels}.values()))


@pytest.fixture(scope="module")
def path(report: Report) -> Path:
    path = report.runs.root.parent / "report" / "index.html"
    path.parent.mkdir()
    path.write_text(page(report, path.parent), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox", "--disable-gpu"])
        yield opened
        opened.close()


def open_page(browser: Any, path: Path, width: int = 1280, scheme: str = "light") -> tuple[Any, list[str], list[str]]:
    """The page, what it asked the network for, and what it complained about."""
    tab = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme, offline=True).new_page()
    asked: list[str] = []
    said: list[str] = []
    tab.on("request", lambda request: asked.append(request.url))
    tab.on("console", lambda message: said.append(message.text))
    tab.on("pageerror", lambda error: said.append(str(error)))
    tab.goto(path.as_uri())
    return tab, asked, said


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_it_fits_and_can_be_read(width: int, scheme: str, browser: Any, path: Path) -> None:
    tab, asked, said = open_page(browser, path, width, scheme)
    assert asked == [path.as_uri()]  # nothing but itself
    assert said == []
    tab.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    assert tab.evaluate("document.documentElement.scrollWidth") == width
    for selector in ("body", ".soft", "td a", "td.paper", ".counts .bad b", ".counts .open b"):
        contrast = tab.evaluate(f"() => {{ {SCRIPT} return contrast('{selector}'); }}")
        assert contrast >= 4.5, (selector, scheme)  # what WCAG asks of running text
    for selector in ("figure svg text", "figure svg path"):
        assert tab.locator(selector).count() > 50
    assert tab.evaluate(f"() => {{ {SCRIPT} return contrast('figure svg text', 'fill'); }}") > 7
    ground = tab.evaluate(f"() => {{ {SCRIPT} return light(ground(document.querySelector('figure'))); }}")
    assert (ground > 0.5) == (scheme == "light")
    assert tab.locator("figure").count() == 8
    heads = "[...document.querySelectorAll('#tables thead tr + tr th')].map(e => getComputedStyle(e).textAlign)"
    assert set(tab.evaluate(heads)) == {"right"}  # as the numbers below them
    assert tab.evaluate("Math.min(...[...document.querySelectorAll('figure svg')].map(e => e.clientWidth))") > 200


def test_every_number_leads_to_its_run(browser: Any, path: Path, report: Report) -> None:
    tab, _, _ = open_page(browser, path)
    hrefs = tab.evaluate("[...document.querySelectorAll('a')].map(a => a.getAttribute('href'))")
    anchors = {href for href in hrefs if href.startswith("#")}
    assert len(anchors) > 100
    ids = tab.evaluate("[...document.querySelectorAll('[id]')].map(each => each.id)")
    assert [href for href in anchors if ids.count(href[1:]) != 1] == []
    folders = {href for href in hrefs if not href.startswith("#")}
    assert len(folders) >= len(report.runs.records)
    assert all((path.parent / href).is_dir() for href in folders)
    # a number of Table 2 -> its seeds -> a run, with its specification in sight
    cell = next(c for c in report.cells if (c.task.name, c.name, c.fraction) == ("dna-splice", "bert", 1))
    bert = tab.locator("#tables tr", has=tab.locator("th", has_text=re.compile("^BERT$")))
    bert.locator("a", has_text=f"{100 * cell.mean:.1f}").first.click()
    row = tab.locator(":target")
    assert row.is_visible()
    row.locator("a", has_text=f"{100 * cell.scores[1]:.1f}").last.click()
    target = tab.locator(":target")
    assert target.is_visible()
    text = target.inner_text()
    for shown in ("learning_rate 0.0001", "task dna-splice", f"accuracy {100 * cell.scores[1]:.1f}"):
        assert shown in text


def test_runs_with_problems_are_listed(browser: Any, path: Path) -> None:
    tab, _, _ = open_page(browser, path)
    text = tab.locator("#problems").inner_text()
    assert "RuntimeError: out of memory" in text
    assert "FileNotFoundError: dna-h4: its data is not in the package" in text
    assert "1: every test item got the same answer" in text
    assert "3 runs that the study table2-small asks for" in text
    counts = tab.locator(".counts").inner_text()
    assert re.search(r"2\s+failed\s+1\s+collapsed\s+1\s+unfinished\s+3\s+planned, not run", counts)
