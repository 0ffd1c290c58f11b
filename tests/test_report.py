"""The report in a real browser, opened from the disk."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from defectgan.inspection.measure import NAMES
from defectgan.inspection.report import CHUNK, MOST, Gallery, write_report
from defectgan.inspection.subject import DEFACED, RESTORED, Subject
from defectgan.inspection.tally import Tally
from tests.test_measures import disc

BROWSERS, DRIVER = ("chromium", "chromium-browser", "google-chrome"), "chromedriver"
# A file called script>.png in a folder called <script>alert(1)<, as a path.
NASTY = "<script>alert(1)</script>.png"
IMAGES = 2 * CHUNK


def picture(i: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.full((48, 48, 3), 40 + i, np.uint8)


def subjects() -> Iterator[Subject]:
    """Of two classes in turn; the areas grow, the first image is nasty, the last one is empty."""
    for i in range(IMAGES):
        mask = disc(4 + i / 8, 48) * np.float32(0.8)
        restored = i % 2 == 0
        yield Subject(
            name=NASTY if i == 0 else f"{i:03d}.png",
            defect="dent" if restored else "<b>rust</b>",
            direction=RESTORED if restored else DEFACED,
            before=picture(i),
            after=picture(i + 60),
            mask=mask if i < IMAGES - 1 else mask * 0,
            change=255 * mask,
            truth=disc(8, 48) > 0 if restored else None,
            again=None if restored else mask,
            digest=str(i),
        )


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    tally, gallery = Tally(threshold=0.3), Gallery(IMAGES)
    for subject in subjects():
        gallery.add(subject, flagged=bool(tally.add(subject).flags))
    write_report(
        path,
        tally.finish(["dent", "<b>rust</b>"]),
        gallery,
        title="<i>a title</i>",
        facts={"model": "<u>m</u>"},
        verdict=(False, "1 of 64 images is flagged"),
    )
    return path


def test_names_are_text_and_nothing_is_fetched_in_what_is_written(page: Path) -> None:
    text = page.read_text()
    for name in (NASTY, "<b>rust</b>", "<i>a title</i>", "<u>m</u>"):
        assert name not in text
    assert "http" not in text.replace("http-equiv", "").replace("http://www.w3.org/2000/svg", "")


def test_of_very_many_images_the_gallery_keeps_an_even_share_and_the_flagged_ones() -> None:
    gallery = Gallery(3 * MOST)
    (subject, *_) = subjects()
    for i in range(10):
        gallery.add(subject, flagged=i == 4)
    assert gallery.shown == [0, 3, 4, 6, 9]


@pytest.fixture(scope="module")
def browser(page: Path) -> Iterator[Any]:
    """Chromium with the page open, its console and its network watched."""
    program = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    driver = shutil.which(DRIVER)
    if program is None or driver is None:
        pytest.skip("no browser here: install chromium and chromium-driver to test the report")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = program
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.add_argument("--window-size=1366,768")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.ChromeService(driver)
    chromium = webdriver.Chrome(options=options, service=service)
    try:
        chromium.get(page.as_uri())
        yield chromium
    finally:
        chromium.quit()


@pytest.fixture
def opened(browser: Any, page: Path) -> Any:
    """The page as it opens, whatever was done to it before."""
    browser.get(page.as_uri())
    return browser


def run(browser: Any, script: str, *arguments: Any) -> Any:
    return browser.execute_script(script, *arguments)


def names(browser: Any) -> list[str]:
    return list(
        run(browser, "return [...document.querySelectorAll('.tile .name')].map(n => n.textContent)")
    )


def choose(browser: Any, control: str, value: str) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.select import Select

    Select(browser.find_element(By.ID, control)).select_by_visible_text(value)


def press(browser: Any, *keys: str) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    ActionChains(browser).send_keys(*keys).perform()


def slide(browser: Any, control: str, key: str, times: int) -> None:
    from selenium.webdriver.common.by import By

    browser.find_element(By.ID, control).send_keys(key * times)


def wait_for(browser: Any, script: str) -> None:
    from selenium.webdriver.support.wait import WebDriverWait

    WebDriverWait(browser, 10).until(lambda b: run(b, f"return {script}"))


def test_a_file_name_with_a_script_in_it_is_shown_as_text(opened: Any) -> None:
    assert NASTY in names(opened)
    assert "<b>rust</b>" in run(opened, "return document.querySelector('.classes').innerText")
    assert run(opened, "return document.querySelectorAll('script').length") == 2 + IMAGES // CHUNK


def test_filters_leave_the_images_that_have_it(opened: Any) -> None:
    assert len(names(opened)) == IMAGES
    choose(opened, "class", "<b>rust</b>")
    assert len(names(opened)) == IMAGES // 2
    choose(opened, "flag", "empty")
    assert names(opened) == [f"{IMAGES - 1:03d}.png"]
    choose(opened, "flag", "full")
    assert names(opened) == []
    run(opened, "document.getElementById('reset').click()")
    assert len(names(opened)) == IMAGES
    run(opened, "document.querySelector('[data-flag=empty]').click()")
    assert len(names(opened)) == 1


def test_images_are_sorted_by_a_measure_both_ways(opened: Any) -> None:
    run(opened, "document.getElementById('grouped').click()")
    choose(opened, "sort", "area")
    rising = names(opened)
    assert rising[:3] == [f"{IMAGES - 1:03d}.png", NASTY, "001.png"]
    run(opened, "document.getElementById('order').click()")
    assert names(opened)[0] == f"{IMAGES - 2:03d}.png" and names(opened)[-1] == rising[0]


def test_every_measure_can_be_sorted_by(opened: Any) -> None:
    keys = run(opened, "return [...document.getElementById('sort').options].map(o => o.value)")
    assert set(keys) - {"", "name"} <= set(NAMES)
    assert {"area", "components", "agreement", "iou", "ap", "auroc"} <= set(keys)


def test_the_slider_uncovers_the_image_before_and_the_overlay_fades(opened: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    run(opened, "document.querySelector('.tile').click()")
    cut = "return getComputedStyle(document.getElementById('before')).clipPath"
    middle = run(opened, cut)
    slide(opened, "cut", Keys.ARROW_RIGHT, 20)
    assert run(opened, "return document.getElementById('cut').value") == "70"
    assert run(opened, cut) != middle
    slide(opened, "strength", Keys.HOME, 1)
    shown = "return getComputedStyle(document.getElementById('tint')).opacity"
    assert run(opened, shown) == "0"
    assert run(opened, "return document.getElementById('opacity').value") == "0"


def test_arrows_move_in_the_gallery_and_from_image_to_image(opened: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    run(opened, "document.getElementById('gallery').focus()")
    focused = "return document.activeElement.querySelector('.name').textContent"
    press(opened, Keys.ARROW_RIGHT)
    assert run(opened, focused) == NASTY
    press(opened, Keys.ARROW_RIGHT)
    assert run(opened, focused) == "002.png"
    press(opened, Keys.ARROW_DOWN)
    below = run(opened, focused)
    assert below not in (NASTY, "002.png")
    press(opened, Keys.ARROW_UP)
    assert run(opened, focused) == "002.png"
    press(opened, Keys.ENTER)
    title = "return document.getElementById('title').textContent"
    assert run(opened, title) == "002.png"
    press(opened, Keys.ARROW_LEFT)
    assert run(opened, title) == NASTY
    press(opened, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    assert run(opened, title) == "004.png"
    press(opened, Keys.ESCAPE)
    wait_for(opened, "!document.getElementById('viewer').open")
    here = focused.removeprefix("return ")
    wait_for(opened, f"{here} === '004.png'")  # the event of closing comes after it has closed


def test_pictures_are_there_while_they_are_near_the_window_and_gone_when_far(opened: Any) -> None:
    pictures = "[...document.querySelectorAll('.tile')].map(t => t.querySelector('.after'))"
    filled = f"{pictures}.map(img => Boolean(img.src))"
    run(opened, "document.getElementById('gallery').scrollIntoView()")
    wait_for(opened, f"{filled}[0]")
    assert not run(opened, f"return {filled}.at(-1)")
    run(opened, "window.scrollTo(0, document.body.scrollHeight)")
    wait_for(opened, f"{filled}.at(-1)")
    wait_for(opened, f"!{filled}[0]")


def test_the_theme_can_be_turned(opened: Any) -> None:
    paper = "return getComputedStyle(document.body).backgroundColor"
    before = run(opened, paper)
    run(opened, "document.getElementById('theme').click()")
    assert run(opened, paper) != before
    run(opened, "document.getElementById('theme').click()")
    assert run(opened, paper) == before


def test_nothing_went_wrong_and_nothing_was_asked_of_a_network(browser: Any) -> None:
    """After all of the above: the console is empty, and only the file itself was opened."""
    assert browser.get_log("browser") == []
    entries = [json.loads(e["message"])["message"] for e in browser.get_log("performance")]
    sent = [e["params"] for e in entries if e["method"] == "Network.requestWillBeSent"]
    asked = {s["request"]["url"].split(":")[0] for s in sent}
    assert "file" in asked and asked <= {"file", "data"}
    assert len({s["request"]["url"] for s in sent if s["request"]["url"].startswith("file")}) == 1
