"""A headless Chromium for tests of pages, driven by selenium and the distribution's chromium-driver.

The variable CHROMIUM names a browser that is not on the path.
"""

import base64
import contextlib
import io
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from selenium import webdriver
from selenium.common.exceptions import NoAlertPresentException  # noqa: F401 - for who answers questions
from selenium.webdriver.chrome.service import Service

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--disable-sync",
    "--disable-extensions",
    "--force-color-profile=srgb",
    "--hide-scrollbars",
    "--mute-audio",
)
TIMEOUT = 240.0
"""Seconds; a busy machine without a graphics processor draws slowly."""

DRIVER = "chromedriver"


def find() -> str | None:
    """Path of a Chromium, or None."""
    named = os.environ.get("CHROMIUM")
    return named or next(filter(None, map(shutil.which, NAMES)), None)


def missing() -> str | None:
    """Why there is no browser to test with; None if there is one."""
    if find() is None:
        return f"no browser: none of {', '.join(NAMES)} is on the path, and CHROMIUM names none"
    if shutil.which(DRIVER) is None:
        return f"no {DRIVER} on the path, which Debian's package chromium-driver has"
    return None


class Browser:
    """A page in a running browser, and all that it complained of."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self._driver = driver
        self._complaints: list[str] = []
        self._requests: list[str] = []

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The result of a command of the DevTools protocol, for what WebDriver has no word for."""
        return self._driver.execute_cdp_cmd(method, parameters)

    @property
    def complaints(self) -> list[str]:
        """What the console and the log of the page say since it was opened, its exceptions among it."""
        self._complaints += [f"{entry['level']}: {entry['message']}" for entry in self._driver.get_log("browser")]
        return self._complaints

    @property
    def requests(self) -> list[str]:
        """What the page has asked for since it was opened, addresses."""
        for entry in self._driver.get_log("performance"):
            event = json.loads(entry["message"])["message"]
            if event["method"] == "Network.requestWillBeSent":
                self._requests.append(event["params"]["request"]["url"])
        return self._requests

    def open(
        self,
        page: Path | str,
        width: int = 640,
        height: int = 480,
        *,
        dark: bool = False,
        phone: bool = False,
        before: str = "",
    ) -> None:
        """Shows a page in a window of a size, with complaints and requests noted from here on.

        Args:
          page: The file, or an address.
          width: px, of the window.
          height: px, of the window.
          dark: Whether the system is set to dark colours.
          phone: Whether it is a phone, with a touch screen of two pixels a px.
          before: JavaScript to run before any of the page's.
        """
        self._driver.get("about:blank")
        for noted in (self.complaints, self.requests):
            noted.clear()
        density = 2 if phone else 1
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=density, mobile=phone
        )
        self.call("Emulation.setTouchEmulationEnabled", enabled=phone, maxTouchPoints=2)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        script = self.call("Page.addScriptToEvaluateOnNewDocument", source=before)["identifier"]
        self._driver.get(page if isinstance(page, str) else page.resolve().as_uri())
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'")
        self.call("Page.removeScriptToEvaluateOnNewDocument", identifier=script)

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page; of a promise, what it comes to."""
        result = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in result:
            raise RuntimeError(f"{expression}: {result['exceptionDetails']}")
        return result["result"].get("value")

    @contextlib.contextmanager
    def inside(self, selector: str) -> Iterator[Callable[[str], Any]]:
        """Within a frame of the page: gives what evaluates an expression there, even if it is of another origin."""
        self._driver.switch_to.frame(self._driver.find_element("css selector", selector))
        try:
            yield lambda expression: self._driver.execute_script(f"return {expression}")
        finally:
            self._driver.switch_to.default_content()

    @contextlib.contextmanager
    def another_tab(self, address: str) -> Iterator[None]:
        """A second tab with a page, which everything here acts on until the context ends and the tab is closed."""
        first = self._driver.current_window_handle
        self._driver.switch_to.new_window("tab")
        try:
            self._driver.get(address)
            yield
        finally:
            self._driver.close()
            self._driver.switch_to.window(first)

    def accept(self) -> None:
        """Says yes to the question that the page asks."""
        self._driver.switch_to.alert.accept()

    def wait(self, condition: str) -> None:
        """Waits until an expression is true."""
        deadline = time.monotonic() + TIMEOUT
        while not self.evaluate(condition):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{condition}; the page says: {self.complaints}")
            time.sleep(0.05)

    def screenshot(self, selector: str | None = None) -> np.ndarray:
        """The window, or one element of the page, as it is drawn, [H, W, 3] uint8."""
        # Two frames: what the page has asked for is drawn in the first and shown with the second.
        self.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(1))))")
        options: dict[str, Any] = {}
        if selector is not None:
            box = f"document.querySelector({json.dumps(selector)}).getBoundingClientRect()"
            x, y, width, height = self.evaluate(f"(b => [b.x + scrollX, b.y + scrollY, b.width, b.height])({box})")
            options["clip"] = {"x": x, "y": y, "width": width, "height": height, "scale": 1}
        data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=selector is not None, **options)
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(data["data"]))).convert("RGB"))

    def middle(self, selector: str) -> tuple[float, float]:
        """The middle (x, y) of an element in the window, px."""
        box = f"document.querySelector({json.dumps(selector)}).getBoundingClientRect()"
        x, y = self.evaluate(f"(b => [b.x + b.width / 2, b.y + b.height / 2])({box})")
        return x, y

    def click(self, selector: str) -> None:
        """Clicks on an element."""
        self.evaluate(f"document.querySelector({json.dumps(selector)}).scrollIntoView({{block: 'nearest'}})")
        self.drag(selector, 0, 0)

    def drag(self, selector: str, dx: float, dy: float, *, shift: bool = False) -> None:
        """Presses the mouse in the middle of an element, moves it and lets it go."""
        x, y = self.middle(selector)
        shared = {"button": "left", "modifiers": 8 if shift else 0}
        self._mouse("mousePressed", x, y, buttons=1, clickCount=1, **shared)
        if dx or dy:
            for share in (0.5, 1.0):
                self._mouse("mouseMoved", x + share * dx, y + share * dy, buttons=1, **shared)
        self._mouse("mouseReleased", x + dx, y + dy, clickCount=1, **shared)

    def wheel(self, selector: str, delta: float) -> None:
        """Turns the mouse's wheel over the middle of an element."""
        self._mouse("mouseWheel", *self.middle(selector), deltaX=0, deltaY=delta)

    def pinch(self, selector: str, before: float, after: float) -> None:
        """Puts two fingers around the middle of an element, and changes the distance between them, px."""
        x, y = self.middle(selector)
        for kind, apart in (("touchStart", before), ("touchMove", after)):
            points = [{"x": x + side * apart / 2, "y": y, "id": k} for k, side in enumerate((-1, 1))]
            self.call("Input.dispatchTouchEvent", type=kind, touchPoints=points)
        self.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def _mouse(self, kind: str, x: float, y: float, **options: Any) -> None:
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **options)

    def press(self, key: str) -> None:
        """Presses a key for what has the focus; a letter, a digit or a name such as ArrowLeft."""
        text = {"text": key} if len(key) == 1 else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key)


@contextlib.contextmanager
def running(profile: Path, *flags: str) -> Iterator[Browser]:
    """A browser for as long as the context lasts.

    Args:
      profile: an empty folder for what it keeps.
      *flags: further flags of Chromium.
    """
    reason = missing()
    if reason is not None:
        raise FileNotFoundError(reason)
    options = webdriver.ChromeOptions()
    options.binary_location = find()
    for flag in (*FLAGS, f"--user-data-dir={profile / 'profile'}", *flags):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = Service(shutil.which(DRIVER), log_output=str(profile / "driver.txt"))
    driver = webdriver.Chrome(options, service)
    try:
        driver.set_page_load_timeout(TIMEOUT)
        driver.set_script_timeout(TIMEOUT)
        yield Browser(driver)
    finally:
        driver.quit()
