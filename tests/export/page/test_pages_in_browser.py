"""The page of `latkit report` in a real browser: headless Chromium, from Debian's packages."""

import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import ActionChains, Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

import latkit
from devices import DeviceSpec
from lut import LatencyTable
from search.answers import read_answers
from tests.conftest import lacking
from tests.export.page.report_pages import Reported, reported

KINDS = ("table", "answers", "deployment")
every_kind = pytest.mark.parametrize("kind", KINDS)

PHONE, DESK = 360, 1100

PATIENCE_S = 60
"""A busy machine draws late; what never comes fails."""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        lacking("there is no Chromium, or no driver of it")
    options = ChromeOptions()
    options.binary_location = chromium
    home = tmp_path_factory.mktemp("chromium")
    for flag in ("headless=new", "disable-dev-shm-usage", "disable-background-networking"):
        options.add_argument(f"--{flag}")
    options.add_argument(f"--user-data-dir={home}")
    if os.getuid() == 0:
        options.add_argument("--no-sandbox")  # Chromium's does not work for root
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    with Chrome(options=options, service=Service(driver)) as found:
        yield found


@pytest.fixture(scope="module")
def files(
    tmp_path_factory: pytest.TempPathFactory,
    make_table: Callable[..., LatencyTable],
    noisy: DeviceSpec,
) -> Reported:
    return reported(tmp_path_factory.mktemp("report"), make_table, noisy)


@pytest.fixture(scope="module")
def pages(files: Reported, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    for kind in KINDS:
        command = ["report", str(getattr(files, kind)), "-o", str(folder / f"{kind}.html")]
        assert latkit.main(command) == 0
    return {kind: folder / f"{kind}.html" for kind in KINDS}


def show(
    browser: Chrome, page: Path, *, width: int = DESK, dark: bool = False, media: str = "screen"
) -> None:
    """Open a page on a screen of some width."""
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": [scheme]})
    screen = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width == PHONE}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    browser.get(page.as_uri())


def tip(browser: Chrome) -> str:
    """Return what is said of the mark that is pointed at; empty where none is."""
    return browser.find_element(By.ID, "tip").text


def soon(browser: Chrome, says: str) -> str:
    """Wait until a mark is pointed at of which that is said, a pattern; return all of it."""
    WebDriverWait(browser, PATIENCE_S).until(lambda _: re.search(says, tip(browser)))
    return tip(browser)


def log(browser: Chrome, kind: str) -> list[dict[str, Any]]:
    """Return what a log of the browser holds since it was last read."""
    entries: list[dict[str, Any]] = browser.get_log(kind)  # type: ignore[no-untyped-call]
    return entries


def complaints(browser: Chrome) -> list[str]:
    """Return what stands on the console since it was last read."""
    return [entry["message"] for entry in log(browser, "browser")]


def requests(browser: Chrome) -> list[str]:
    """Return the addresses that were asked for since the log was last read."""
    events = [json.loads(entry["message"])["message"] for entry in log(browser, "performance")]
    return [
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    ]


@every_kind
def test_a_page_opens_without_an_error_and_asks_for_nothing_but_itself(
    browser: Chrome, pages: dict[str, Path], kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    browser.get("about:blank")
    requests(browser), complaints(browser)  # what was before
    show(browser, pages[kind])
    assert complaints(browser) == []
    asked = [url for url in requests(browser) if not url.startswith("data:")]
    assert asked == [pages[kind].as_uri()]
    took_ms = browser.execute_script(
        "const [t] = performance.getEntriesByType('navigation'); return t.loadEventEnd"
    )
    with capsys.disabled():
        size = pages[kind].stat().st_size / 1e3
        sys.stdout.write(f"\nthe page of {kind}: {size:.0f} kB, opens in {took_ms:.0f} ms\n")


def test_the_pointer_shows_which_architecture_a_mark_is(
    browser: Chrome, pages: dict[str, Path], files: Reported
) -> None:
    show(browser, pages["answers"])
    assert tip(browser) == ""
    archs = {str(each.arch) for each in read_answers(files.answers)[0].front}
    for mark in browser.find_elements(By.CSS_SELECTOR, "#pareto-front path.mark"):
        browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", mark)
        ActionChains(browser).move_to_element(mark).perform()
        name = (mark.get_attribute("aria-label") or "").partition("\n")[0]
        assert "\npredicted " in soon(browser, f"^{name}\n")
        archs.discard(name)
    assert archs == set()


def test_the_keyboard_reaches_the_marks_and_goes_through_them(
    browser: Chrome, pages: dict[str, Path]
) -> None:
    show(browser, pages["answers"])
    body = browser.find_element(By.TAG_NAME, "body")
    body.send_keys(Keys.TAB)
    assert browser.switch_to.active_element.text == "Skip to the content"
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    assert browser.switch_to.active_element.get_attribute("id") == "content"
    for _ in range(20):
        browser.switch_to.active_element.send_keys(Keys.TAB)
        if "mark" in (browser.switch_to.active_element.get_attribute("class") or ""):
            break
    first = soon(browser, r"^\d{8}\naccuracy ")
    browser.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    second = soon(browser, f"^(?!{first[:8]})\\d{{8}}\naccuracy ")
    assert second != first
    browser.switch_to.active_element.send_keys(Keys.HOME)
    assert soon(browser, f"^{first[:8]}\n") == first
    browser.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert soon(browser, "^$") == ""


def test_a_finger_shows_what_an_operator_takes(browser: Chrome, pages: dict[str, Path]) -> None:
    show(browser, pages["table"], width=PHONE)
    row = browser.find_element(By.CSS_SELECTOR, "#operators .mark")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", row)
    box = row.rect
    top = browser.execute_script("return scrollY")
    middle = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2 - top}
    browser.execute_cdp_cmd(
        "Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [middle]}
    )
    browser.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    assert soon(browser, "us in context")


@every_kind
def test_a_phone_never_scrolls_a_page_sideways(
    browser: Chrome, pages: dict[str, Path], kind: str
) -> None:
    show(browser, pages[kind], width=PHONE)
    browser.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= PHONE
    sizes = browser.execute_script(
        "return [...document.querySelectorAll('svg.chart text')].filter(t => t.getClientRects()"
        ".length).map(t => parseFloat(getComputedStyle(t).fontSize) * t.getScreenCTM().a)"
    )
    assert sizes
    assert min(sizes) >= 9  # pixels: letters stay legible where a drawing shrinks


def test_dark_mode_is_dark_and_both_have_contrast(browser: Chrome, pages: dict[str, Path]) -> None:
    papers = []
    for dark in (False, True):
        show(browser, pages["table"], dark=dark)
        ink, paper = (luminance(browser, "body", which) for which in ("color", "backgroundColor"))
        soft = luminance(browser, "figcaption", "color")
        papers.append(paper)
        for text in (ink, soft):
            assert (max(text, paper) + 0.05) / (min(text, paper) + 0.05) > 4.5  # WCAG 2.2, AA
    light, dark_paper = papers
    assert light > 0.9
    assert dark_paper < 0.05


def luminance(browser: Chrome, selector: str, which: str) -> float:
    """Return the relative luminance of a colour in force, as WCAG 2.2 defines it."""
    text = browser.execute_script(
        "return getComputedStyle(document.querySelector(arguments[0]))[arguments[1]]",
        selector,
        which,
    )
    parts = [int(part) / 255 for part in re.findall(r"\d+", text)[:3]]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(w * p for w, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@every_kind
def test_paper_is_white_and_carries_no_links(
    browser: Chrome, pages: dict[str, Path], kind: str
) -> None:
    show(browser, pages[kind], width=720, dark=True, media="print")
    assert luminance(browser, "body", "color") < 0.05
    assert not browser.find_element(By.TAG_NAME, "nav").is_displayed()
    assert browser.find_element(By.CSS_SELECTOR, "svg.chart").is_displayed()
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 720
