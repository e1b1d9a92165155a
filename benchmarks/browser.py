"""A headless Chromium, spoken to over a pipe in the DevTools protocol: no driver and no further package."""

import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = [
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
    "--allow-pre-commit-input",  # without it, a click before the first picture of a page is dropped
]
LAUNCHER = """
import os, sys
os.dup2(int(sys.argv[1]), 3), os.dup2(int(sys.argv[2]), 4)
os.execv(sys.argv[3], sys.argv[3:])
"""
"""Chromium reads commands from descriptor 3 and writes answers to 4."""

DEADLINE_S = 120
COMPLETE = "document.readyState === 'complete'"


class Browser:
    """One Chromium with one page, whose console and requests are kept.

    Attributes
    ----------
    console : list of str
        What the page logged, and errors that nobody caught.
    requests : list of str
        Addresses of all that the page asked for, itself among them.
    """

    def __init__(self) -> None:
        assert CHROMIUM is not None
        self.console: list[str] = []
        self.requests: list[str] = []
        self._folder = tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True)
        profile = f"--user-data-dir={self._folder.name}"
        to_read, to_write = os.pipe(), os.pipe()
        self._process = subprocess.Popen(
            [sys.executable, "-c", LAUNCHER, str(to_read[0]), str(to_write[1]), CHROMIUM, *QUIET, profile],
            pass_fds=(to_read[0], to_write[1]),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_read[0])
        os.close(to_write[1])
        self._out, self._in = to_read[1], os.fdopen(to_write[0], "rb")
        self._last, self._session, self._rest = 0, "", b""

    def __enter__(self) -> Self:
        try:
            target = self._call("Target.createTarget", url="about:blank")["targetId"]
            self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            for domain in ("Page", "Runtime", "Log", "Network"):
                self._call(f"{domain}.enable")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the browser and delete its profile."""
        os.close(self._out)  # Chromium ends when nobody can command it any more
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._in.close()
        self._folder.cleanup()

    def open(self, page: Path | str, *, width: int = 1280, scheme: str = "light", is_drawn: str = COMPLETE) -> None:
        """Show a file or an address at a width in CSS pixels; below 500 as on a phone.

        Returns once an expression is true.
        """
        self.console.clear()
        self.requests.clear()
        is_phone = width < 500
        self._call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=is_phone)
        self.show_as(scheme=scheme)
        url = page if isinstance(page, str) else page.resolve().as_uri()
        self._call("Page.navigate", url=url)
        self.until(f"location.href !== 'about:blank' && ({is_drawn})")

    def until(self, expression: str) -> None:
        """Wait until an expression is true."""
        end = time.monotonic() + DEADLINE_S
        while not self.evaluate(f"Boolean({expression})"):
            assert time.monotonic() < end, f"{expression}: {self.console} {self.evaluate('document.body?.innerText')!r}"
            time.sleep(0.05)

    def forget_all(self) -> None:
        """Empty the cache, as of a new visitor."""
        self._call("Network.clearBrowserCache")

    def evaluate(self, expression: str) -> Any:
        """Return the value of an expression on the page."""
        result = self._call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def move(self, x: float, y: float) -> None:
        """Move the pointer."""
        self._call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def wheel(self, x: float, y: float, down: float) -> None:
        """Turn the wheel."""
        self._call("Input.dispatchMouseEvent", type="mouseWheel", x=x, y=y, deltaX=0, deltaY=down)

    def drag(self, begin: tuple[float, float], end: tuple[float, float]) -> None:
        """Press the left button at a point, and release it at another."""
        held = {"button": "left", "buttons": 1, "clickCount": 1}
        self.move(*begin)
        self._call("Input.dispatchMouseEvent", type="mousePressed", x=begin[0], y=begin[1], **held)
        self._call("Input.dispatchMouseEvent", type="mouseMoved", x=end[0], y=end[1], **held)
        self._call("Input.dispatchMouseEvent", type="mouseReleased", x=end[0], y=end[1], **held)

    def double_click(self, x: float, y: float) -> None:
        """Click twice with the left button."""
        for count in (1, 2):
            for kind in ("mousePressed", "mouseReleased"):
                self._call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=count)

    def click(self, selector: str) -> None:
        """Press the left button in the middle of the first element of a CSS selector, on a page that is complete."""
        found = json.dumps(selector)
        self.until(f"{COMPLETE} && document.querySelector({found})")
        self.evaluate(f"document.querySelector({found}).scrollIntoView({{block: 'center'}})")
        box = f"document.querySelector({found}).getBoundingClientRect()"
        x, y = self.evaluate(f"(() => {{ const b = {box}; return [b.x + b.width / 2, b.y + b.height / 2] }})()")
        held = {"button": "left", "clickCount": 1}
        self._call("Input.dispatchMouseEvent", type="mousePressed", x=x, y=y, **held)
        self._call("Input.dispatchMouseEvent", type="mouseReleased", x=x, y=y, **held)

    def write(self, selector: str, text: str) -> None:
        """Put text into the first field of a CSS selector, in place of what is there."""
        found = json.dumps(selector)
        self.until(f"document.querySelector({found})")
        self.evaluate(f"document.querySelector({found}).focus(); document.querySelector({found}).select?.()")
        self._call("Input.insertText", text=text)

    def press(self, key: str) -> None:
        """Press and release a key, such as "Tab" or "Enter"."""
        code = {"Tab": 9, "Enter": 13, "Escape": 27}[key]
        text = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            self._call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **text)

    def choose(self, selector: str, *files: Path) -> None:
        """Choose files in a field."""
        root = self._call("DOM.getDocument")["root"]["nodeId"]
        node = self._call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self._call("DOM.setFileInputFiles", nodeId=node, files=[str(one) for one in files])

    def picture(self, path: Path, most: int = 6000) -> None:
        """Write the page as a picture, at most so many pixels high, in the format of the file's ending."""
        size = self._call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], most), "scale": 1}
        shot = self._call("Page.captureScreenshot", format=path.suffix[1:], clip=clip, captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))

    def show_as(self, media: str = "", scheme: str = "light") -> None:
        """Show the page as on another medium, such as "print", and in another colour scheme."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self._call("Emulation.setEmulatedMedia", media=media, features=features)

    @contextmanager
    def without_scripts(self) -> Iterator[None]:
        """Open pages with JavaScript switched off."""
        self._call("Emulation.setScriptExecutionDisabled", value=True)
        try:
            yield
        finally:
            self._call("Emulation.setScriptExecutionDisabled", value=False)

    def _call(self, method: str, **params: Any) -> dict[str, Any]:
        self._last += 1
        message: dict[str, Any] = {"id": self._last, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._last:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            chunk = self._in.read1(65536)
            assert chunk, "Chromium is gone"
            self._rest += chunk
        raw, _, self._rest = self._rest.partition(b"\0")
        message: dict[str, Any] = json.loads(raw)
        keep: Callable[[dict[str, Any]], None] | None = {
            "Runtime.consoleAPICalled": lambda p: self.console.append(str([each.get("value") for each in p["args"]])),
            "Runtime.exceptionThrown": lambda p: self.console.append(str(p["exceptionDetails"])),
            "Log.entryAdded": lambda p: self.console.append(p["entry"]["text"]),
            "Network.requestWillBeSent": lambda p: self.requests.append(p["request"]["url"]),
        }.get(message.get("method", ""))
        if keep is not None:
            keep(message["params"])
        return message
