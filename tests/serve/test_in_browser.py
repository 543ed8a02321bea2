"""The page in a real browser, from a real server: typing, sliding, playing, keys, phones, dark pages."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import pytest

NARROW, WIDE = 360, 1280
SLIDE = """(() => { const s = document.querySelector('%s input[type=range]');
  s.value = %d; s.dispatchEvent(new Event('input', { bubbles: true })); })()"""
COUNT = "document.querySelectorAll('%s .tok[data-kind=%s]').length"
CONTRASTS = """(() => {
  const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const rgb = (colour) => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1); return [...canvas.getImageData(0, 0, 1, 1).data]; };
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255).map((v) => (v <= .04045 ? v / 12.92
    : ((v + .055) / 1.055) ** 2.4)).reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const behind = (node) => { for (let n = node; n; n = n.parentElement) {
    const found = rgb(getComputedStyle(n).backgroundColor); if (found[3] === 255) return found; }
    return rgb(getComputedStyle(document.body).backgroundColor); };
  const found = [];
  for (const node of document.querySelectorAll('body *')) {
    const own = [...node.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    const isLeftOut = node.closest('svg, .visually-hidden, :disabled, noscript, script');
    if (!own || isLeftOut || !node.checkVisibility()) continue;
    const colour = getComputedStyle(node).color;
    if (rgb(colour)[3] < 255 || node.matches('label:has(:disabled)')) continue;
    const [a, b] = [light(rgb(colour)), light(behind(node))].sort((x, y) => y - x);
    found.push([(a + .05) / (b + .05), node.tagName + node.className + node.textContent.trim().slice(0, 30)]);
  }
  return found;
})()"""


@pytest.fixture
def page(browser, address):
    """Opens the page; in the end nothing may have failed, and nothing foreign been asked for."""
    browser.requests.clear()
    browser.problems.clear()

    def show(**screen):
        browser.show(address, **screen)
        browser.wait_for("document.querySelector('#corrupt .tok')")
        return browser

    yield show
    assert not browser.problems
    ours = urlsplit(address).netloc
    assert {urlsplit(a).netloc for a in browser.requests if not a.startswith("data:")} == {ours}


def choose(browser, tab):
    browser.evaluate(f"document.getElementById('tab-{tab}').click()")


def submit(browser, panel):
    browser.evaluate(f"document.querySelector('#{panel} form').requestSubmit()")
    browser.wait_for(f"!document.querySelector('#{panel}').hasAttribute('aria-busy')")


def fill(browser, field, value):
    browser.evaluate(f"document.getElementById('{field}').value = {value!r}")


def test_a_typed_sentence_is_shown_with_its_tree(page):
    browser = page()
    browser.evaluate("document.getElementById('corrupt-text').select()")
    browser.evaluate("document.getElementById('corrupt-text').focus()")
    browser.type("A young cat sees the grey dog.")
    submit(browser, "corrupt")
    browser.evaluate(SLIDE % ("#corrupt", 0))
    text = browser.evaluate("document.querySelector('#corrupt .line').textContent")
    assert text == "A young cat sees the grey dog."
    assert browser.evaluate(
        "[...document.querySelectorAll('#corrupt svg .span title')].map(n => n.textContent)"
    )
    assert browser.evaluate("document.querySelectorAll('#corrupt svg rect.bar').length > 5")


def test_sliding_hides_more_and_more(page):
    browser = page()
    hidden = []
    for t in (0, 20, 60, 100):
        browser.evaluate(SLIDE % ("#corrupt", t))
        hidden.append(browser.evaluate(COUNT % ("#corrupt", "masked")))
    assert hidden[0] == 0
    assert hidden == sorted(hidden)
    assert hidden[-1] == browser.evaluate("document.querySelectorAll('#corrupt .tok').length")
    assert "100 %" in browser.evaluate("document.querySelector('#corrupt .readout').textContent")


def test_tokens_are_grouped_by_the_level_that_is_chosen(page):
    browser = page()
    groups = {}
    for level in ("clause", "word"):
        browser.evaluate(f"document.querySelector('#corrupt input[value={level}]').click()")
        assert browser.evaluate(f"document.querySelector('#corrupt .tok').dataset.level === '{level}'")
        groups[level] = browser.evaluate("document.querySelectorAll('#corrupt .tok[data-starts]').length")
    assert groups["clause"] < groups["word"]


def test_play_restores_the_sentence_step_by_step(page):
    browser = page(calm=False)
    choose(browser, "restore")
    fill(browser, "restore-t", "1")
    submit(browser, "restore")
    browser.wait_for(COUNT % ("#restore", "blank") + " === 0")  # it plays of its own accord
    browser.evaluate(SLIDE % ("#restore", 0))
    blank = browser.evaluate(COUNT % ("#restore", "blank"))
    assert blank > 0
    browser.evaluate("document.querySelector('#restore .forward').click()")
    assert browser.evaluate(COUNT % ("#restore", "new")) > 0
    assert browser.evaluate(COUNT % ("#restore", "blank")) < blank
    browser.evaluate("document.querySelector('#restore .play').click()")
    assert browser.evaluate("document.querySelector('#restore .play').getAttribute('aria-label')") == "Pause"
    browser.wait_for("document.querySelector('#restore .play').getAttribute('aria-label') === 'Play'")
    assert browser.evaluate(COUNT % ("#restore", "blank")) == 0
    said = browser.evaluate("document.querySelector('#restore .readout').textContent")
    assert re.search(r"trunk calls\d+head passes\d+time\d+\.\d\d s", said)


def test_who_wants_little_motion_sees_nothing_move_unasked(page):
    browser = page(calm=True)
    choose(browser, "restore")
    submit(browser, "restore")
    browser.evaluate("new Promise((done) => setTimeout(done, 400))")
    assert browser.evaluate("document.querySelector('#restore input[type=range]').value") == "0"
    seconds = browser.evaluate("getComputedStyle(document.querySelector('.tok')).transitionDuration")
    assert seconds == "0s"


def test_given_words_are_marked(page):
    browser = page()
    choose(browser, "control")
    fill(browser, "control-infill", "The list [3] is returned")
    submit(browser, "control")
    given = browser.evaluate(
        "[...document.querySelectorAll('#control .tok[data-kind=given]')].map((n) => n.textContent).join(' ')"
    )
    assert given.replace(" ", "") == "Thelistisreturned"


def test_a_refusal_is_shown_where_it_was_asked(page):
    browser = page()
    choose(browser, "control")
    fill(browser, "control-infill", "<img src=x onerror=alert(1)> no gap")
    submit(browser, "control")
    said = browser.evaluate("document.querySelector('#control .problem').textContent")
    assert said.startswith("'<img src=x onerror=alert(1)> no gap' has no gap")
    assert said.endswith(".")
    browser.problems.clear()  # the browser logs every answer with status 400


def test_a_stale_result_goes_when_an_error_comes(page):
    browser = page()
    choose(browser, "control")
    fill(browser, "control-infill", "The list [3] is returned")
    submit(browser, "control")
    assert browser.evaluate("document.querySelectorAll('#control .tok').length") > 3
    fill(browser, "control-infill", "no gap")
    submit(browser, "control")
    assert browser.evaluate("document.querySelectorAll('#control .answer *').length") == 0
    browser.problems.clear()  # the browser logs every answer with status 400


TYPED = """(() => { const field = document.getElementById('%s');
  field.value = %r; field.dispatchEvent(new Event('input', { bubbles: true })); })()"""


def test_a_sentence_goes_along_from_tab_to_tab(page):
    browser = page()
    value = "document.getElementById('%s').value"
    assert browser.evaluate(value % "corrupt-text") == browser.evaluate(value % "restore-text") != ""
    browser.evaluate(TYPED % ("corrupt-text", "A young cat sees the grey dog."))
    assert browser.evaluate(value % "restore-text") == "A young cat sees the grey dog."
    assert browser.evaluate(value % "control-infill") == "A young cat [2-5] dog."
    browser.evaluate(TYPED % ("restore-text", "The bird sings [loudly] at night."))
    assert browser.evaluate(value % "corrupt-text") == "The bird sings [loudly] at night."
    assert browser.evaluate(value % "control-infill") == "The bird sings [2-5]"
    browser.evaluate(TYPED % ("control-infill", "My own [4]."))
    browser.evaluate(TYPED % ("corrupt-text", "A third sentence is here."))
    assert browser.evaluate(value % "control-infill") == "My own [4]."  # what somebody wrote stays


def test_crossing_spans_are_explained(page):
    browser = page()
    choose(browser, "restore")
    browser.evaluate("document.querySelector('input[name=restore-from][value=fresh]').click()")
    fill(browser, "restore-samples", "3")
    submit(browser, "restore")
    has_crossing = browser.evaluate("document.querySelectorAll('#restore .tok[data-level=crossing]').length")
    said = browser.evaluate("document.querySelector('#restore .panel').textContent")
    assert ("borders of random spans do not follow phrases" in said) == (has_crossing > 0)


def test_hostile_text_does_not_run(page):
    browser = page()
    browser.evaluate("window.alert = () => { throw new Error('it ran'); }")
    fill(browser, "corrupt-text", "<img src=x onerror=alert(1)></script><script>alert(2)</script>")
    submit(browser, "corrupt")
    browser.evaluate(SLIDE % ("#corrupt", 0))
    assert "<script>alert(2)" in browser.evaluate("document.querySelector('#corrupt .line').textContent")
    assert browser.evaluate("document.querySelectorAll('main img, main script').length") == 0


def focus(browser):
    return browser.evaluate("document.activeElement.id || document.activeElement.className")


def test_keys_alone_reach_everything(page):
    browser = page()
    browser.press("Tab")
    assert focus(browser) == "tab-corrupt"
    assert browser.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    browser.press("ArrowRight")
    assert focus(browser) == "tab-restore"
    assert browser.evaluate(
        "!document.getElementById('restore').hidden && document.getElementById('corrupt').hidden"
    )
    browser.press("Tab")
    assert browser.evaluate("document.activeElement.name") == "restore-from"
    browser.press("Tab")
    assert focus(browser) == "restore-text"
    for field in ("restore-t", "restore-steps", "restore-samples", "restore-seed", "restore-temperature"):
        browser.press("Tab")
        assert focus(browser) == field
    browser.press("Enter")
    browser.wait_for("document.querySelector('#restore .tok')")
    browser.press("Tab", "Tab")
    assert focus(browser) == "play"
    browser.press(" ")
    browser.wait_for(COUNT % ("#restore", "blank") + " === 0")
    browser.press("Tab")  # all is filled, so one step back is what can be done
    assert focus(browser) == "back"
    browser.press("Tab")
    assert browser.evaluate("document.activeElement.type") == "range"
    browser.press("Home")
    assert browser.evaluate("document.activeElement.value") == "0"
    browser.press("ArrowRight")
    assert browser.evaluate("document.activeElement.getAttribute('aria-valuetext')").startswith("step 1 of")
    browser.press(" ")
    browser.wait_for(COUNT % ("#restore", "blank") + " === 0")


def test_everything_that_can_be_used_has_a_name(page):
    browser = page()
    for tab in ("restore", "control", "corrupt"):
        choose(browser, tab)
        submit(browser, tab)
    nodes = browser.call("Accessibility.getFullAXTree")["nodes"]
    roles = {"button", "slider", "tab", "textbox", "spinbutton", "radio", "combobox", "tabpanel"}
    named = [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in nodes
        if not node["ignored"] and node.get("role", {}).get("value") in roles
    ]
    assert {"tab", "slider", "textbox", "spinbutton", "combobox", "radio"} <= {role for role, _ in named}
    assert not [role for role, name in named if not name.strip()]


@pytest.mark.parametrize("tab", ["corrupt", "restore", "control"])
def test_a_phone_needs_no_sideways_scrolling(page, tab):
    browser = page(width=NARROW, height=740)
    choose(browser, tab)
    submit(browser, tab)
    assert browser.evaluate("document.documentElement.scrollWidth") <= NARROW
    small = browser.evaluate(
        f"[...document.querySelectorAll('#{tab} button, #{tab} select, [role=tab]')]"
        ".filter((n) => n.checkVisibility() && (n.offsetHeight < 40 || n.offsetWidth < 40))"
        ".map((n) => n.className + n.textContent)"
    )
    assert small == []


@pytest.mark.parametrize("dark", [False, True])
def test_text_stands_out_from_what_is_behind_it(page, dark):
    browser = page(dark=dark)
    for tab in ("corrupt", "restore", "control"):
        choose(browser, tab)
        submit(browser, tab)
        found = browser.evaluate(CONTRASTS)
        assert len(found) > 15
        assert [entry for entry in found if entry[0] < 4.5] == []
    paper = browser.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(20, 23, 27)") == dark
