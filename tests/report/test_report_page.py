"""The report's page in a real browser: on a phone, on a desk, in the light and in the dark, without a network."""

import re
import shutil
from collections.abc import Iterator
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


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Report, Path]:
    root = tmp_path_factory.mktemp("page")
    make_study_runs(root / "runs", seeds=3, items=60)
    report = build_report(read_runs(root / "runs"), resamples=100)
    (root / "report").mkdir()
    path = root / "report" / "index.html"
    path.write_text(page(report, path.parent), encoding="utf-8")
    return report, path


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox", "--disable-gpu"])
        yield opened
        opened.close()


def open_page(browser: Any, path: Path, width: int, scheme: str) -> tuple[Any, list[str], list[str]]:
    """The page, what it asked the network for, and what it complained about."""
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme, offline=True)
    tab = context.new_page()
    asked: list[str] = []
    said: list[str] = []
    tab.on("request", lambda request: asked.append(request.url))
    tab.on("console", lambda message: said.append(message.text))
    tab.on("pageerror", lambda error: said.append(str(error)))
    tab.goto(path.as_uri())
    return tab, asked, said


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_it_fits_and_can_be_read(width: int, scheme: str, browser: Any, made: tuple[Report, Path]) -> None:
    report, path = made
    tab, asked, said = open_page(browser, path, width, scheme)
    assert asked == [path.as_uri()]  # nothing but itself
    assert said == []
    tab.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    assert tab.evaluate("document.documentElement.scrollWidth") == width
    # text on its ground: the contrast that WCAG asks of running text
    for selector in ("body", ".soft", "td a", "td.paper", ".counts .bad b", ".counts .open b"):
        assert contrast(tab, selector) >= 4.5, (selector, scheme)
    for selector in ("figure svg text", "figure svg path"):
        assert tab.locator(selector).count() > 50
    ink, ground = (channels(tab.evaluate(code)) for code in (
        "getComputedStyle(document.querySelector('figure svg text')).fill",
        "getComputedStyle(document.querySelector('figure')).backgroundColor",
    ))  # fmt: skip
    assert ratio(ink, ground) > 7
    assert (luminance(ground) > 0.5) == (scheme == "light")
    assert tab.locator("figure").count() == len(report.panels)
    assert tab.evaluate("Math.min(...[...document.querySelectorAll('figure svg')].map(e => e.clientWidth))") > 200


def test_every_number_leads_to_its_run(browser: Any, made: tuple[Report, Path]) -> None:
    report, path = made
    tab, _, _ = open_page(browser, path, 1280, "light")
    hrefs = tab.evaluate("[...document.querySelectorAll('a')].map(a => a.getAttribute('href'))")
    anchors = {href for href in hrefs if href.startswith("#")}
    assert len(anchors) > 100
    missing = [href for href in anchors if tab.locator(f'[id="{href[1:]}"]').count() != 1]
    assert missing == []
    folders = {href for href in hrefs if not href.startswith("#")}
    assert len(folders) >= len(report.runs.records)
    assert all((path.parent / href).is_dir() for href in folders)
    # a number of Table 2 -> its seeds -> a run, with its specification in sight
    cell = next(
        c for c in report.cells if (c.task.name, c.name, c.specification["fraction"]) == ("dna-splice", "bert", 1)
    )
    number = f"{100 * (cell.mean or 0):.1f}"
    tab.locator("#tables tr", has=tab.locator("th", has_text=re.compile("^BERT$"))).locator(
        "a", has_text=number
    ).first.click()
    row = tab.locator(":target")
    assert row.is_visible()
    row.locator("a", has_text=f"{100 * cell.scores[1]:.1f}").last.click()
    target = tab.locator(":target")
    assert target.is_visible()
    text = target.inner_text()
    assert "learning_rate 0.0001" in text
    assert "task dna-splice" in text
    assert f"accuracy {100 * cell.scores[1]:.1f}" in text


def test_runs_with_problems_are_listed(browser: Any, made: tuple[Report, Path]) -> None:
    _, path = made
    tab, _, _ = open_page(browser, path, 1280, "light")
    text = tab.locator("#problems").inner_text()
    assert "RuntimeError: out of memory" in text
    assert "FileNotFoundError: dna-h4: its data is not in the package" in text
    assert "1: every test item got the same answer" in text
    assert "3 runs that the study table2-small asks for" in text
    counts = tab.locator(".counts").inner_text()
    assert re.search(r"2\s+failed\s+1\s+collapsed\s+1\s+unfinished\s+3\s+planned, not run", counts)


def channels(color: str) -> tuple[float, ...]:
    return tuple(float(value) for value in re.findall(r"[\d.]+", color)[:3])


def luminance(color: tuple[float, ...]) -> float:
    linear = [c / 12.92 if (c := value / 255) <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for value in color]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def ratio(first: tuple[float, ...], second: tuple[float, ...]) -> float:
    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


def contrast(tab: Any, selector: str) -> float:
    """Of the text of the first such element with the ground that is painted behind it."""
    ink, ground = tab.evaluate(
        """selector => {
            let each = document.querySelector(selector);
            const ink = getComputedStyle(each).color;
            const clear = ground => ground === 'rgba(0, 0, 0, 0)' || ground === 'transparent';
            while (each.parentElement && clear(getComputedStyle(each).backgroundColor)) each = each.parentElement;
            return [ink, getComputedStyle(each).backgroundColor];
        }""",
        selector,
    )
    return ratio(channels(ink), channels(ground))
