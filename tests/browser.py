"""Headless Chromium through its own WebDriver, with nothing but the standard library."""

from __future__ import annotations

import http.client
import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

REQUEST_TIMEOUT_S = 150


def missing() -> str:
    """Why there is no browser here, empty when there is one."""
    absent = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    return f"no {' and '.join(absent)} on the PATH" if absent else ""


class Browser:
    """One session of one browser."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._session = ""

    def start(self, profile: Path, *flags: str) -> None:
        arguments = [
            "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            f"--user-data-dir={profile}", "--window-size=1000,1400", *flags,
        ]  # fmt: skip
        wanted = {
            "goog:chromeOptions": {"args": arguments, "binary": shutil.which("chromium")},
            "goog:loggingPrefs": {"browser": "ALL"},
        }
        found = self._ask("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self._session = f"/session/{found['sessionId']}"

    def open(self, address: str) -> None:
        self._ask("POST", f"{self._session}/url", {"url": address})

    def run(self, script: str) -> Any:
        """What the script's `return` gives."""
        return self._ask("POST", f"{self._session}/execute/sync", {"script": script, "args": []})

    def console(self) -> list[str]:
        """Everything that the page's console holds."""
        entries = self._ask("POST", f"{self._session}/se/log", {"type": "browser"})
        return [f"{entry['level']}: {entry['message']}" for entry in entries]

    def screenshot(self) -> str:
        """A PNG in base64."""
        return str(self._ask("GET", f"{self._session}/screenshot"))

    def quit(self) -> None:
        if self._session:
            self._ask("DELETE", self._session)

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, REQUEST_TIMEOUT_S)
        try:
            text = None if body is None else json.dumps(body)
            connection.request(method, path, text, {"Content-Type": "application/json"})
            answer = json.loads(connection.getresponse().read())["value"]
        finally:
            connection.close()
        if isinstance(answer, dict) and "error" in answer:
            raise RuntimeError(f"{method} {path}: {answer['error']}: {answer.get('message', '')}")
        return answer


@contextmanager
def browser(folder: Path, *flags: str) -> Iterator[Browser]:
    """A running browser whose profile lives in `folder`."""
    driver = subprocess.Popen(
        ["chromedriver", "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert driver.stdout is not None
    session: Browser | None = None
    try:
        port = 0
        for line in driver.stdout:
            if "started successfully on port" in line:
                port = int(line.rsplit("port", 1)[1].strip().rstrip("."))
                break
        assert port, "chromedriver did not say its port"
        session = Browser(port)
        session.start(folder / "profile", *flags)
        yield session
    finally:
        try:
            if session is not None:
                session.quit()
        finally:
            driver.terminate()
            driver.wait(10)
            driver.stdout.close()
