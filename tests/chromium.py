"""A headless Chromium for tests of pages, driven through a pipe: the DevTools protocol, one JSON message after a zero.

Nothing but a Chromium or Chrome is needed; the variable CHROMIUM names one that is not on the path.
"""

import base64
import contextlib
import io
import itertools
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--remote-debugging-pipe",
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

# Chromium reads commands from descriptor 3 and writes answers to 4. Both are first moved out of each other's way.
_LAUNCH = """
import fcntl, os, sys
read, write = (fcntl.fcntl(int(text), fcntl.F_DUPFD, 10) for text in sys.argv[1:3])
os.dup2(read, 3)
os.dup2(write, 4)
os.execv(sys.argv[3], sys.argv[3:])
"""


def find() -> str | None:
    """Path of a Chromium, or None."""
    named = os.environ.get("CHROMIUM")
    return named or next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """A page in a running browser, and all that it complained of."""

    def __init__(self, commands: int, answers: int) -> None:
        self._commands, self._answers = commands, answers
        self._buffer = b""
        self._ids = itertools.count(1)
        self._session: str | None = None
        self.complaints: list[str] = []
        self.requests: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The result of a command of the protocol; what happens meanwhile is noted."""
        number = next(self._ids)
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + TIMEOUT
        while True:
            answer = self._receive(deadline, method)
            if answer.get("id") == number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]
            self._note(answer)

    def open(
        self,
        page: Path,
        width: int = 640,
        height: int = 480,
        *,
        dark: bool = False,
        phone: bool = False,
        before: str = "",
    ) -> None:
        """Shows a file in a window of a size, with complaints and requests noted from here on.

        Args:
          page: The file.
          width: px, of the window.
          height: px, of the window.
          dark: Whether the system is set to dark colours.
          phone: Whether it is a phone, with a touch screen of two pixels a px.
          before: JavaScript to run before any of the page's.
        """
        self.call("Page.navigate", url="about:blank")
        self.complaints, self.requests = [], []
        density = 2 if phone else 1
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=density, mobile=phone
        )
        self.call("Emulation.setTouchEmulationEnabled", enabled=phone, maxTouchPoints=2)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        script = self.call("Page.addScriptToEvaluateOnNewDocument", source=before)["identifier"]
        self.call("Page.navigate", url=page.resolve().as_uri())
        self.wait("document.readyState === 'complete' && location.protocol === 'file:'")
        self.call("Page.removeScriptToEvaluateOnNewDocument", identifier=script)

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page; of a promise, what it comes to."""
        result = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in result:
            raise RuntimeError(f"{expression}: {result['exceptionDetails']}")
        return result["result"].get("value")

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

    def _receive(self, deadline: float, method: str) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._answers], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise TimeoutError(f"{method}: no answer from the browser within {TIMEOUT:g} s")
            data = os.read(self._answers, 1 << 20)
            if not data:
                raise RuntimeError(f"{method}: the browser has ended")
            self._buffer += data
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    def _note(self, event: dict[str, Any]) -> None:
        method, parameters = event.get("method"), event.get("params", {})
        if method == "Runtime.exceptionThrown":
            details = parameters["exceptionDetails"]
            self.complaints.append(details.get("exception", {}).get("description") or details["text"])
        elif method == "Runtime.consoleAPICalled":
            values = [str(value.get("value", value.get("description"))) for value in parameters["args"]]
            self.complaints.append(f"console.{parameters['type']}: {' '.join(values)}")
        elif method == "Log.entryAdded":
            self.complaints.append(f"{parameters['entry']['level']}: {parameters['entry']['text']}")
        elif method == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])


@contextlib.contextmanager
def running(profile: Path, *flags: str) -> Iterator[Browser]:
    """A browser for as long as the context lasts.

    Args:
      profile: an empty folder for what it keeps.
      *flags: further flags of Chromium.
    """
    executable = find()
    if executable is None:
        raise FileNotFoundError(f"none of {', '.join(NAMES)} is on the path")
    from_test, to_browser = os.pipe()
    from_browser, to_test = os.pipe()
    command = [sys.executable, "-S", "-c", _LAUNCH, str(from_test), str(to_test), executable]
    with open(profile / "stderr.txt", "wb") as log:
        process = subprocess.Popen(
            [*command, *FLAGS, f"--user-data-dir={profile / 'profile'}", *flags, "about:blank"],
            pass_fds=(from_test, to_test),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        os.close(from_test)
        os.close(to_test)
        try:
            browser = Browser(to_browser, from_browser)
            yield browser
        finally:
            os.close(to_browser)
            os.close(from_browser)
            process.terminate()
            process.wait(timeout=TIMEOUT)
