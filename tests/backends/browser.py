"""A real browser without a window, spoken to in its own protocol (Chrome DevTools)."""

import asyncio
import base64
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any, Final

import aiohttp

from tests.backends.choose import missing
from tests.backends.waiting import until

NO_BROWSER: Final = "no browser: install chromium (Debian: chromium)"
OPTIONS: Final = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--remote-debugging-port=0",
)  # fmt: skip
WITHIN: Final = 60.0  # seconds to start on a busy machine


class Tab:
    """One page. Its complaints are kept: `complaints` should stay empty."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = count(1)
        self.complaints: list[str] = []

    async def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        async with asyncio.timeout(WITHIN):
            while True:
                message = await self._socket.receive_json()
                if message.get("id") == number:
                    assert "error" not in message, message["error"]
                    return dict(message["result"])
                self._note(message)

    def _note(self, message: dict[str, Any]) -> None:
        """Return errors of scripts, and what the security policy blocked."""
        if message["method"] == "Runtime.exceptionThrown":
            self.complaints.append(str(message["params"]["exceptionDetails"]))
        elif message["method"] == "Log.entryAdded":
            self.complaints.append(str(message["params"]["entry"]))

    async def open(self, url: str) -> None:
        for domain in ("Page", "Runtime", "Log"):
            await self.send(f"{domain}.enable")
        await self.send("Page.navigate", url=url)
        await until(lambda: self.ask("document.readyState === 'complete'"), WITHIN)

    async def ask(self, expression: str) -> Any:
        """Return the value of a line of script."""
        answer = await self.send("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    async def look(self, width: int, height: int, scheme: str) -> None:
        """Set the size of the screen, and whether its user prefers `light` or `dark`."""
        await self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        wanted = [{"name": "prefers-color-scheme", "value": scheme}]
        await self.send("Emulation.setEmulatedMedia", features=wanted)

    async def press(self, key: str, code: int, modifiers: int = 0, text: str = "") -> None:
        for kind in ("keyDown" if text else "rawKeyDown", "keyUp"):
            await self.send(
                "Input.dispatchKeyEvent",
                type=kind,
                text=text if kind == "keyDown" else "",
                key=key,
                code=key,
                windowsVirtualKeyCode=code,
                modifiers=modifiers,
            )

    async def picture(self) -> bytes:
        """Return the whole page as PNG."""
        shot = await self.send("Page.captureScreenshot", captureBeyondViewport=True)
        return base64.b64decode(shot["data"])


@asynccontextmanager
async def browser(url: str) -> AsyncIterator[Tab]:
    """Open a tab with that page, in a browser of its own."""
    program = shutil.which("chromium")
    if not program:
        missing(NO_BROWSER)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        process = await asyncio.create_subprocess_exec(
            str(program),
            *OPTIONS,
            f"--user-data-dir={folder}",
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            port = Path(folder) / "DevToolsActivePort"
            await until(lambda: port.exists() and bool(port.read_text()), WITHIN, "it listens")
            async with aiohttp.ClientSession() as session:
                tabs = f"http://127.0.0.1:{port.read_text().splitlines()[0]}/json/new"
                async with session.put(tabs) as answer:
                    found = await answer.json()
                async with session.ws_connect(
                    found["webSocketDebuggerUrl"], max_msg_size=1 << 26
                ) as socket:
                    tab = Tab(socket)
                    await tab.open(url)
                    yield tab
        finally:
            process.kill()
            await process.wait()
