"""A headless Chromium, spoken to over its own debugging pipe: JSON messages that end in NUL."""

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time


class Browser:
    """One tab of a browser; `with Browser() as tab`."""

    def __enter__(self):
        self.folder = tempfile.mkdtemp(prefix="hornbeam-browser-")
        read_end, self.write = os.pipe()
        self.read, write_end = os.pipe()
        ends = f'exec chromium "$@" 3<&{read_end} 4>&{write_end}'
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe"]
        self.process = subprocess.Popen(
            ["bash", "-c", ends, "bash", *flags, f"--user-data-dir={self.folder}"],
            pass_fds=(read_end, write_end), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(read_end)
        os.close(write_end)
        self.count, self.waiting, self.session, self.events = 0, b"", None, []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        attached = self.send("Target.attachToTarget", targetId=target, flatten=True)
        self.session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.send(f"{domain}.enable")
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        os.close(self.read)
        os.close(self.write)
        shutil.rmtree(self.folder, ignore_errors=True)

    def send(self, method, **params):
        """One command; what it gives back. Events that come before are kept."""
        self.count += 1
        message = {"id": self.count, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.write, json.dumps(message).encode() + b"\0")
        while True:
            result = self._next()
            if result.get("id") == self.count:
                assert "error" not in result, result
                return result["result"]
            self.events.append(result)

    def _next(self, seconds=60):
        while b"\0" not in self.waiting:
            ready, _, _ = select.select([self.read], [], [], seconds)
            assert ready, "the browser does not answer"
            data = os.read(self.read, 1 << 16)
            assert data, "the browser has gone"
            self.waiting += data
        line, self.waiting = self.waiting.split(b"\0", 1)
        return json.loads(line)

    def open(self, path):
        """Load a page, of a file or a URL, and wait until it stands."""
        url = path if isinstance(path, str) else path.as_uri()
        self.send("Page.navigate", url=url)
        self.until(f"document.readyState + location.protocol == 'complete{url.split('/')[0]}'")

    def until(self, script):
        """Wait until an expression is true in the page."""
        end = time.monotonic() + 60
        while not self.run(script):
            assert time.monotonic() < end, f"never: {script}"
            time.sleep(0.02)

    def run(self, script):
        """The value of an expression in the page."""
        result = self.send("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def press(self, *keys):
        """Keys, one after the other."""
        for key in keys:
            for kind in ("keyDown", "keyUp"):
                self.send("Input.dispatchKeyEvent", type=kind, key=key, code=key)

    def click(self, x, y):
        """The left button at a place of the window."""
        for kind in ("mousePressed", "mouseReleased"):
            place = {"x": x, "y": y, "button": "left", "clickCount": 1}
            self.send("Input.dispatchMouseEvent", type=kind, **place)

    def width(self, pixels):
        """The window's width."""
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=pixels, height=900, deviceScaleFactor=1, mobile=pixels < 600,
        )  # fmt: skip

    def troubles(self):
        """Exceptions and messages of the console since the start."""
        kinds = ("Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled")
        return [event for event in self.events if event.get("method") in kinds]

    def picture(self, path):
        """A screenshot of the window."""
        data = self.send("Page.captureScreenshot", format="png")["data"]
        path.write_bytes(base64.b64decode(data))
