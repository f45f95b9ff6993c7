"""A report in headless Chromium, opened from disk: what is seen, what works, and what is never asked of a network."""

import io
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image
from selenium.webdriver import Chrome, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from src_lab.report import write_report
from src_lab.report.page import Command, Data, Report, Section, Table
from src_lab.report.render import MAX_DATA, MAX_ROWS, render
from tests.report.conftest import STEPS, make_full_run

CONTRAST = """
const light = (c) => { c /= 255; return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; };
const parts = (color) => color.match(/[\\d.]+/g).map(Number);
const luminance = ([r, g, b]) => 0.2126 * light(r) + 0.7152 * light(g) + 0.0722 * light(b);
const ground = (element) => {
  for (let at = element; at; at = at.parentElement) {
    const color = parts(getComputedStyle(at).backgroundColor);
    if (color.length === 3 || color[3] > 0) return color;
  }
  return [255, 255, 255];
};
const worst = {};
for (const element of document.querySelectorAll("body *")) {
  if (["SCRIPT", "STYLE"].includes(element.tagName) || !element.checkVisibility()) continue;
  if (![...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim())) continue;
  const [a, b] = [parts(getComputedStyle(element).color), ground(element)].map(luminance);
  const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  worst[element.tagName] = Math.min(ratio, worst[element.tagName] ?? 99);
}
return worst;
"""
OVERFLOWING = """
const inside = (element) => element.closest(".scroll, .picture");
return [document.documentElement.scrollWidth, ...[...document.querySelectorAll("body *")]
  .filter((e) => !inside(e) && !e.matches(".skip") && e.getBoundingClientRect().right > innerWidth + 0.5)
  .map((e) => e.outerHTML.slice(0, 60))];
"""
VISIBLE_STEPS = """
return [...document.querySelectorAll(".frame")].filter((f) => f.checkVisibility()).map((f) => Number(f.dataset.step));
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a run with every kind of content."""
    return write_report(make_full_run(tmp_path_factory.mktemp("full") / "run"))


@pytest.fixture
def opened(browser: Chrome, page: Path) -> Iterator[Chrome]:
    browser.get_log("performance")
    browser.get_log("browser")
    browser.get(page.as_uri())
    yield browser
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def find(where: Chrome | WebElement, selector: str) -> WebElement:
    return where.find_element(By.CSS_SELECTOR, selector)


def find_all(where: Chrome | WebElement, selector: str) -> list[WebElement]:
    return where.find_elements(By.CSS_SELECTOR, selector)


def column(table: WebElement, place: int) -> list[str]:
    return [cell.text for cell in find_all(table, f"tbody tr > :nth-child({place + 1})")]


def emulate(browser: Chrome, **features: str) -> None:
    media = features.pop("media", "")
    named = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": named})


def resize(browser: Chrome, width: int, *, mobile: bool) -> None:
    size = {"width": width, "height": 740, "deviceScaleFactor": 1, "mobile": mobile}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def test_it_opens_without_a_word_in_the_console_and_without_the_network(opened: Chrome) -> None:
    assert opened.title == "SRC on digits, seed 0"
    assert opened.get_log("browser") == []
    messages = [json.loads(entry["message"])["message"] for entry in opened.get_log("performance")]
    asked = [each["params"]["request"]["url"] for each in messages if each["method"] == "Network.requestWillBeSent"]
    assert asked
    assert {url.partition(":")[0] for url in asked} <= {"file", "data"}


def test_the_policy_keeps_everything_else_out(opened: Chrome) -> None:
    opened.execute_script("const i = new Image(); i.src = 'file:///nowhere.png'; document.body.append(i)")
    opened.execute_script("document.body.append(Object.assign(document.createElement('script'), {text: 'window.bad = 1'}))")
    assert opened.execute_script("return window.bad") is None
    assert any("Content Security Policy" in entry["message"] for entry in opened.get_log("browser"))


def test_it_is_small_and_has_no_other_file(page: Path) -> None:
    text = page.read_text()
    assert len(text.encode()) < 15e6
    assert "http" not in text.partition("<body>")[0].replace("http-equiv", "")
    assert [path.name for path in page.parent.glob("report*")] == ["report.html"]


def test_a_click_or_enter_sorts_by_number_and_what_is_missing_stays_last(browser: Chrome, tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {"name": ["b", "a", "d", "c"], "n": [10, 9, 100, float("nan")], "of": ["7.5 ± 1", "-", "+12", "-3 x"]}
    )
    path = tmp_path / "table.html"
    path.write_text(render(Report("t", {}, (), (Section("s", (Table("t", frame),)),))))
    browser.get(path.as_uri())
    table = find(browser, "table")
    name, number, text = find_all(table, "thead button")
    number.click()
    assert column(table, 1) == ["9", "10", "100", "-"]
    assert find_all(table, "th")[1].get_attribute("aria-sort") == "ascending"
    number.send_keys(Keys.ENTER)
    assert column(table, 1) == ["100", "10", "9", "-"]
    text.send_keys(Keys.SPACE)
    assert column(table, 2) == ["-3 x", "7.5 ± 1", "+12", "-"]
    assert [header.get_attribute("aria-sort") for header in find_all(table, "thead th")] == [None, None, "ascending"]
    name.click()
    assert column(table, 0) == ["a", "b", "c", "d"]


def test_an_animation_plays_to_its_end_pauses_and_starts_again(opened: Chrome) -> None:
    button, output = find(opened, ".animation .play"), find(opened, ".animation output")
    assert output.text == "0"
    assert button.accessible_name == "Play Weights in sleep"
    button.send_keys(Keys.ENTER)
    assert button.accessible_name == "Pause Weights in sleep"
    WebDriverWait(opened, 5).until(lambda _: output.text == "50")
    button.click()
    assert (button.text, output.text) == ("Play", "50")
    time.sleep(0.7)  # more than the longest time between two frames
    assert output.text == "50"
    button.click()
    WebDriverWait(opened, 5).until(lambda _: output.text == "200" and button.text == "Play")
    assert opened.execute_script(VISIBLE_STEPS) == [200]
    button.click()
    assert output.text == "0"


def test_the_slider_steps_by_key_and_says_the_sleep_step(opened: Chrome) -> None:
    slider, button = find(opened, ".animation input"), find(opened, ".animation .play")
    button.click()
    slider.send_keys(Keys.ARROW_RIGHT)
    assert button.text == "Play"
    for keys, step in ((Keys.HOME, 0), (Keys.ARROW_RIGHT, 50), (Keys.END, 200), (Keys.ARROW_LEFT, 150)):
        slider.send_keys(keys)
        assert slider.get_attribute("aria-valuetext") == f"sleep step {step}"
        assert opened.execute_script(VISIBLE_STEPS) == [step]
    assert slider.accessible_name == "Sleep step"


def test_nothing_moves_unasked_and_less_motion_stops_what_plays(opened: Chrome) -> None:
    button = find(opened, ".animation .play")
    assert button.text == "Play"
    button.click()
    emulate(opened, prefers_reduced_motion="reduce")
    WebDriverWait(opened, 5).until(lambda _: button.text == "Play")


def test_the_download_is_the_file(opened: Chrome, page: Path) -> None:
    link = find(opened, "a[download='ranks.csv']")
    opened.execute_script("arguments[0].scrollIntoView({block: 'center'})", link)
    link.click()
    saved = opened.downloads / "ranks.csv"
    WebDriverWait(opened, 10).until(lambda _: saved.exists() and saved.stat().st_size)
    assert saved.read_bytes() == (page.parent / "analysis" / "ranks.csv").read_bytes()
    names = {link.get_attribute("download") for link in find_all(opened, "a[download]")}
    assert names == {"results.csv", "accuracy.csv", "sleep_trace.csv", "ranks.csv"}


@pytest.mark.parametrize("width", [360, 700, 1280])
def test_no_width_makes_the_page_scroll_sideways(opened: Chrome, width: int) -> None:
    resize(opened, width, mobile=width < 500)
    assert opened.execute_script(OVERFLOWING) == [width]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out_from_what_is_behind_it(opened: Chrome, scheme: str) -> None:
    emulate(opened, prefers_color_scheme=scheme)
    ratios = opened.execute_script(CONTRAST)
    assert {"H1", "TD", "DT", "A", "BUTTON", "CODE", "P"} <= ratios.keys()
    assert {tag: ratio for tag, ratio in ratios.items() if ratio < 4.5} == {}


def test_the_button_turns_light_into_dark_and_back(opened: Chrome) -> None:
    emulate(opened, prefers_color_scheme="light")
    background = "return getComputedStyle(document.body).backgroundColor"
    button, light = find(opened, ".theme"), opened.execute_script(background)
    button.click()
    dark = opened.execute_script(background)
    assert dark != light
    emulate(opened, prefers_color_scheme="dark")
    assert opened.execute_script(background) == dark
    button.click()
    assert opened.execute_script(background) == light
    assert button.text == "Dark"


def test_pictures_say_what_they_show_and_tables_what_they_are(opened: Chrome) -> None:
    images = find_all(opened, "img")
    assert len(images) == 6 + len(STEPS)
    assert all(len(image.get_attribute("alt")) > 10 for image in images)
    assert all(opened.execute_script("return arguments[0].naturalWidth", image) > 0 for image in images)
    assert all(find(figure, "figcaption p").text.strip() for figure in find_all(opened, "figure"))
    assert all(find(table, "caption").text for table in find_all(opened, "table"))
    assert {header.get_attribute("scope") for header in find_all(opened, "th")} == {"col", "row"}
    ids = [element.get_attribute("id") for element in find_all(opened, "[id]")]
    assert len(ids) == len(set(ids))
    assert all(link.get_attribute("href").rpartition("#")[2] in ids for link in find_all(opened, "nav a"))


def test_every_control_is_reached_by_tab_in_the_order_of_reading(opened: Chrome) -> None:
    reachable = "a[href], button, input, [tabindex='0']"
    expected = [
        element.id
        for element in find_all(opened, reachable)
        if element.is_displayed() or "skip" in element.get_attribute("class")
    ]
    reached = []
    for _ in expected:
        find(opened, "body").send_keys(Keys.TAB) if not reached else opened.switch_to.active_element.send_keys(Keys.TAB)
        reached.append(opened.switch_to.active_element.id)
    assert reached == expected


def test_on_paper_there_are_the_first_and_last_frame_and_nothing_to_press(opened: Chrome) -> None:
    find(opened, ".animation input").send_keys(Keys.ARROW_RIGHT)
    emulate(opened, media="print", prefers_color_scheme="dark")
    assert opened.execute_script(VISIBLE_STEPS) == [STEPS[0], STEPS[-1]]
    assert [each for each in find_all(opened, "nav, .controls, .theme, a.download") if each.is_displayed()] == []
    assert opened.execute_script("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert find(opened, ".frame p").text == "Sleep step 0"


def test_without_javascript_everything_can_be_read(opened: Chrome, page: Path) -> None:
    opened.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    opened.get(page.as_uri())
    shown = [frame for frame in find_all(opened, ".frame") if frame.is_displayed()]
    assert [frame.text for frame in shown] == ["Sleep step 0", "Sleep step 200"]
    assert all(each.is_displayed() for each in find_all(opened, "figure:not(.animation) img, table, caption"))
    assert [each for each in find_all(opened, "button, .controls") if each.is_displayed()] == []


def test_text_is_never_taken_for_markup() -> None:
    evil = "<script>alert(1)</script>"
    frame = pd.DataFrame({evil: [evil]})
    page = render(Report(evil, {evil: evil}, (Command(evil, evil),), (Section(evil, (Table(evil, frame),), evil),)))
    assert evil not in page
    assert page.count("&lt;script&gt;") >= 10


def test_what_is_too_large_is_named_instead() -> None:
    frame = pd.DataFrame({"n": range(MAX_ROWS + 7)})
    table = Table("t", frame, data=Data("big.csv", "x" * (MAX_DATA + 1)))
    page = render(Report("t", {}, (), (Section("s", (table,)),)))
    assert f"The first {MAX_ROWS} of {MAX_ROWS + 7} rows." in page
    assert page.count("<tr>") == MAX_ROWS + 1
    assert "Data: big.csv" in page
    assert len(page) < MAX_DATA


def test_pictures_have_the_size_that_their_resolution_says(opened: Chrome, page: Path) -> None:
    with Image.open(io.BytesIO((page.parent / "analysis" / "figures" / "ranks.png").read_bytes())) as image:
        assert find(opened, ".wide img").get_dom_attribute("width") == str(image.size[0])
    matrix = find(opened, "figure img")
    assert int(matrix.get_dom_attribute("width")) * 150 // 96 == pytest.approx(
        opened.execute_script("return arguments[0].naturalWidth", matrix), abs=2
    )
