"""The page in a real browser, driven over Chromium's debugging pipe: no port, no library, no network."""

import base64
import fcntl
import json
import os
import select
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from robustmq_trt.report.document import Document
from robustmq_trt.report.render import render, write_report

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
_FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--remote-debugging-pipe",
]
_DEADLINE_S = 60.0


class Browser:
    """One Chromium and one tab in it."""

    def __init__(self, binary: str, profile: Path) -> None:
        to_child, self._write = _pipe()
        self._read, from_child = _pipe()
        quiet = os.open(os.devnull, os.O_WRONLY)
        self._pid = os.posix_spawn(
            binary,
            [binary, *_FLAGS, f"--user-data-dir={profile}"],
            {**os.environ, "HOME": str(profile)},
            file_actions=[
                (os.POSIX_SPAWN_DUP2, quiet, 2),
                (os.POSIX_SPAWN_DUP2, to_child, 3),
                (os.POSIX_SPAWN_DUP2, from_child, 4),
            ],
            setpgroup=0,
        )
        for handle in (to_child, from_child, quiet):
            os.close(handle)
        self._buffer, self._count, self.events = b"", 0, list[dict[str, Any]]()
        self._session: str | None = None
        tab = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=tab, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._count += 1
        message: dict[str, Any] = {"id": self._count, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while (reply := self._next()).get("id") != self._count:
            self.events.append(reply)
        assert "error" not in reply, reply
        return dict(reply["result"])

    def open(self, path: Path, *, width: int, scheme: str = "light", media: str = "") -> None:
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=844, deviceScaleFactor=1, mobile=width < 500
        )
        self.call("Emulation.setEmulatedMedia", media=media, features=features)
        self.events.clear()
        self.call("Page.navigate", url=path.as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self._next())

    def evaluate(self, expression: str) -> Any:
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def picture(self, path: Path) -> None:
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        path.write_bytes(base64.b64decode(shot["data"]))

    def close(self) -> None:
        os.killpg(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        os.close(self._write)
        os.close(self._read)

    def _next(self) -> dict[str, Any]:
        end = time.monotonic() + _DEADLINE_S
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._read], [], [], max(0.0, end - time.monotonic()))
            assert ready, "Chromium did not answer in time"
            piece = os.read(self._read, 1 << 20)
            assert piece, "Chromium ended"
            self._buffer += piece
        message, self._buffer = self._buffer.split(b"\0", 1)
        return dict(json.loads(message))


def _pipe() -> tuple[int, int]:
    """Open a pipe on handles above 4, so that the child's 3 and 4 stay free: reading end, writing end."""
    ends = []
    for handle in os.pipe():
        ends.append(fcntl.fcntl(handle, fcntl.F_DUPFD_CLOEXEC, 10))
        os.close(handle)
    return ends[0], ends[1]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("needs Chromium: install the system package `chromium`")
    running = Browser(CHROMIUM, tmp_path_factory.mktemp("profile"))
    yield running
    running.close()


@pytest.fixture
def page(sample: dict[str, Any], tmp_path: Path) -> Path:
    return write_report(Document.from_json(sample), tmp_path)


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_nothing_reaches_past_the_right_edge(browser: Browser, page: Path, width: int) -> None:
    browser.open(page, width=width)
    browser.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")

    assert browser.evaluate("innerWidth") == width
    assert browser.evaluate("document.scrollingElement.scrollWidth") <= width


def test_the_browser_reports_no_error_and_no_violation(browser: Browser, page: Path) -> None:
    browser.open(page, width=1280)
    browser.call("Runtime.evaluate", expression="1")

    noise = [
        e
        for e in browser.events
        if e.get("method") in ("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown")
    ]
    assert noise == []


def test_hostile_names_neither_run_nor_widen_the_page(browser: Browser, sample: dict[str, Any], tmp_path: Path) -> None:
    names = ["<script>document.title='owned'</script>" * 9, "\u202e" + "W" * 400, "'\"><img src=x onerror=alert(1)>"]
    sample["targets"][0]["file"], sample["dataset"]["name"], sample["examples"][0]["label"] = names
    sample["curves"][0]["title"] = sample["records"][1]["condition"] = sample["command"] = names[1]
    path = write_report(Document.from_json(sample), tmp_path)

    browser.open(path, width=390)
    browser.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")

    assert browser.evaluate("document.scrollingElement.scrollWidth") <= 390
    assert browser.evaluate("document.title") == sample["title"]


def test_the_page_requests_only_itself_and_inline_images(browser: Browser, page: Path) -> None:
    browser.open(page, width=1280)

    urls = [e["params"]["request"]["url"] for e in browser.events if e.get("method") == "Network.requestWillBeSent"]
    assert [url for url in urls if not url.startswith("data:")] == [page.as_uri()]


def test_the_policy_lets_the_style_sheet_and_the_pictures_through(browser: Browser, page: Path) -> None:
    browser.open(page, width=1280)

    assert browser.evaluate("getComputedStyle(document.querySelector('.answers')).display") == "grid"
    assert browser.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)") is True


def test_the_policy_stops_a_script_that_got_in(browser: Browser, sample: dict[str, Any], tmp_path: Path) -> None:
    page = tmp_path / "hit.html"
    injected = "<script>document.title = 'owned'</script><img src=x onerror=\"document.title='owned'\">"
    page.write_text(render(Document.from_json(sample)).replace("<main>", f"<main>{injected}"), encoding="utf-8")

    browser.open(page, width=1280)

    assert browser.evaluate("document.title") == sample["title"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_by_at_least_four_and_a_half_to_one(browser: Browser, page: Path, scheme: str) -> None:
    browser.open(page, width=1280, scheme=scheme)

    low = browser.evaluate(_CONTRAST)
    assert low == []


def test_dark_is_dark_and_print_is_light(browser: Browser, page: Path) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"

    browser.open(page, width=1280, scheme="dark")
    dark = browser.evaluate(ground)
    browser.open(page, width=1280, scheme="dark", media="print")

    assert dark == "rgb(20, 23, 26)"
    assert browser.evaluate(ground) == "rgb(252, 252, 251)"


# WCAG 2.2, relative luminance and contrast ratio, for every element that holds text of its own.
_CONTRAST = """
(() => {
  const parts = c => (c.match(/[0-9.]+/g) || []).map(Number);
  const linear = v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const lum = c => { const [r, g, b] = parts(c).map(v => linear(v / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const ground = e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor;
    if (parts(c).length < 4 || parts(c)[3] > 0) return c; } return 'rgb(255,255,255)'; };
  const low = [];
  for (const e of document.body.querySelectorAll('*')) {
    if (e.tagName === 'title' || ![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())) continue;
    const style = getComputedStyle(e), ink = e.namespaceURI.endsWith('svg') ? style.fill : style.color;
    const [a, b] = [lum(ink), lum(ground(e))].sort((x, y) => y - x), ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) low.push(`${e.tagName}.${e.getAttribute('class')} ${ratio.toFixed(2)}`);
  }
  return low;
})()
"""
