"""Debian's Chromium without a screen, spoken to over a pipe: what it loaded, said, drew and shows.

The protocol is that of the browser's developer tools: JSON objects, each ended by a byte 0, written to
file descriptor 3 and read from 4.
"""

import base64
import json
import os
import select
import shutil
import subprocess
import time
from contextlib import contextmanager

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium on the PATH: apt-get install chromium"
)
PHONE, DESK = (390, 844), (1280, 900)


class Browser:
    """One page at a time, in a window without a network."""

    def __init__(self, send, receive):
        self._send, self._receive, self._buffer = send, receive, b""
        self._count, self._session = 0, None
        self.events = []
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        attached = self._call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._call(f"{domain}.enable")

    def show(self, path, size=DESK, scheme="light"):
        """Open a file in a window of this size; what was seen of an earlier page is forgotten."""
        width, height = size
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1}
        mobile = width < 600
        self._call("Emulation.setDeviceMetricsOverride", mobile=mobile, **metrics)
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self._call("Emulation.setEmulatedMedia", features=[feature])
        self.events.clear()
        self._call("Page.navigate", url=path.as_uri())
        self.wait_for("Page.loadEventFired")

    def run(self, script):
        """The value of an expression in the page; a promise is waited for."""
        found = self._call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def screenshot(self, path):
        """The whole page, as a PNG."""
        size = self._call("Page.getLayoutMetrics")["cssContentSize"]
        shot = self._call(
            "Page.captureScreenshot", captureBeyondViewport=True, clip={**size, "scale": 1}
        )
        path.write_bytes(base64.b64decode(shot["data"]))

    def requests(self):
        """The addresses that the page asked for, those in itself aside."""
        found = [e["params"]["request"]["url"] for e in self._of("Network.requestWillBeSent")]
        return [url for url in found if not url.startswith("data:")]

    def complaints(self):
        """Errors and warnings of the console, and exceptions of scripts."""
        said = [e["params"]["entry"]["text"] for e in self._of("Log.entryAdded")]
        said += [str(e["params"]["args"]) for e in self._of("Runtime.consoleAPICalled")]
        return said + [str(e["params"]) for e in self._of("Runtime.exceptionThrown")]

    def wait_for(self, method, seconds=60):
        """Until there was such an event."""
        end = time.monotonic() + seconds
        while not self._of(method):
            self.events.append(self._next(end))

    def _of(self, method):
        return [event for event in self.events if event.get("method") == method]

    def _call(self, method, **params):
        self._count += 1
        message = {"id": self._count, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._send, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + 60
        while (answer := self._next(end)).get("id") != self._count:
            self.events.append(answer)
        assert "error" not in answer, (method, answer)
        return answer["result"]

    def _next(self, end):
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._receive], [], [], max(end - time.monotonic(), 0))
            assert ready, "the browser did not answer in time"
            data = os.read(self._receive, 1 << 16)
            assert data, "the browser has ended"
            self._buffer += data
        message, self._buffer = self._buffer.split(b"\0", 1)
        return json.loads(message)


@contextmanager
def browsing(profile):
    """A `Browser`, ended with the block."""
    into, out = os.pipe(), os.pipe()
    # The shell puts the pipes where the protocol wants them, and becomes the browser.
    script = f'exec "$0" "$@" 3<&{into[0]} 4>&{out[1]}'
    options = (
        *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
        *("--no-first-run", "--disable-background-networking", "--remote-debugging-pipe"),
        *("--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={profile}"),
    )
    process = subprocess.Popen(
        ["bash", "-c", script, CHROMIUM, *options],
        pass_fds=(into[0], out[1]),
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    os.close(into[0])
    os.close(out[1])
    try:
        yield Browser(into[1], out[0])
    finally:
        process.terminate()
        process.wait(30)
        os.close(into[1])
        os.close(out[0])
