#!/usr/bin/env python3
"""Write docs/reference/gallery.md, the stored HTML of examples/gallery and, in a browser, the pictures in docs/gallery.

The page and the HTML come from the examples alone; `--check` says whether they are up to date, and needs no browser.
`--pictures` takes the pictures with Chromium, which asks nobody for anything: what an example shows is answered here.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import itertools
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.support.gallery import Example, examples, picture  # noqa: E402

PAGE = ROOT / "docs" / "reference" / "gallery.md"
PICTURES = ROOT / "docs" / "gallery"
WIDTHS = (800, 360)
MAX_PICTURE_OCTETS = 60_000
START_SECONDS = 30.0
AIR = "html{padding:12px 0;outline:1px solid #cccccc;outline-offset:-1px}"
"""Some room above and below, which a mail reader has as well, and an edge to tell the picture from its page."""
HEAD = """\
# Gallery of blocks

Generated from `examples/gallery` by `make gallery`. Each example shows the `mime` of a message, without `from` and
`subject`, and what a reader with a large and one with a small screen makes of it (Chromium at 800 and at 360 pixels).
The rules are in [Mail described as an object](nested-mime.md). To look at one, and to change it and look again:

```sh
relayq render --page examples/gallery/05-button.json > page.html
relayq render --page --answers examples/gallery/14-feed.web examples/gallery/14-feed.json > page.html
```
"""


def page() -> str:
    """The page of the documentation."""
    return HEAD + "".join(_entry(example) for example in examples())


def _entry(example: Example) -> str:
    shown = {name: value for name, value in example.mime.items() if name not in ("from", "subject")}
    code = _compact(shown)
    pictures = " ".join(
        f"![{example.title}, {width} pixels wide](../gallery/{example.name}-{width}.png)" for width in WIDTHS
    )
    return f"\n## {example.title}\n\n{example.about}\n\n{pictures}\n\n```json\n{code}\n```\n"


def _compact(value: object, indent: int = 0) -> str:
    """JSON with what fits into a line in one line."""
    line = json.dumps(value, ensure_ascii=False)
    if len(line) + indent <= 110 or not isinstance(value, dict | list) or not value:
        return line
    blank = " " * (indent + 2)
    if isinstance(value, dict):
        pieces = [f"{json.dumps(name)}: {_compact(member, indent + 2)}" for name, member in value.items()]
        start, end = "{}"
    else:
        pieces = [_compact(member, indent + 2) for member in value]
        start, end = "[]"
    inside = f",\n{blank}".join(pieces)
    return f"{start}\n{blank}{inside}\n{' ' * indent}{end}"


class Browser:
    """One page of a browser, driven by the Chrome DevTools Protocol."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._loaded = asyncio.Event()
        self._pictures: dict[str, bytes] = {}
        self.session = ""

    async def listen(self) -> None:
        """Take in what the browser says, until it says nothing more."""
        async for message in self._socket:
            said = json.loads(message.data)
            if "id" in said:
                self._answers.pop(said["id"]).set_result(said.get("result", {}))
            elif said["method"] == "Page.loadEventFired":
                self._loaded.set()
            elif said["method"] == "Fetch.requestPaused":
                await self._send("Fetch.fulfillRequest", self._reply(said["params"]))

    def _reply(self, request: dict[str, Any]) -> dict[str, Any]:
        url = request["request"]["url"]
        body = self._pictures.get(url) or _usual_picture(url)
        headers = [{"name": "Content-Type", "value": "image/png"}]
        encoded = base64.b64encode(body).decode()
        return {"requestId": request["requestId"], "responseCode": 200, "responseHeaders": headers, "body": encoded}

    async def _send(self, method: str, params: dict[str, Any]) -> asyncio.Future[dict[str, Any]]:
        number = next(self._numbers)
        future = self._answers[number] = asyncio.get_running_loop().create_future()
        session = {"sessionId": self.session} if self.session else {}
        await self._socket.send_json({"id": number, "method": method, "params": params, **session})
        return future

    async def call(self, method: str, **params: object) -> dict[str, Any]:
        """Ask, and wait for the answer."""
        return await asyncio.wait_for(await self._send(method, params), START_SECONDS)

    async def open(self) -> None:
        """One empty page, all of whose requests come to us."""
        target = await self.call("Target.createTarget", url="about:blank")
        attached = await self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self.session = attached["sessionId"]
        await self.call("Page.enable")
        await self.call("Fetch.enable", patterns=[{"urlPattern": "http*"}])

    async def shoot(self, example: Example, width: int) -> bytes:
        """The whole of an example as a picture."""
        self._pictures = {url: resource.body for url, resource in example.downloads.items()}
        await self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=1, deviceScaleFactor=1, mobile=width < 600
        )
        self._loaded.clear()
        html = example.html().replace("</style>", f"{AIR}</style>", 1)
        encoded = base64.b64encode(html.encode()).decode()
        await self.call("Page.navigate", url=f"data:text/html;charset=utf-8;base64,{encoded}")
        await asyncio.wait_for(self._loaded.wait(), START_SECONDS)
        size = (await self.call("Page.getLayoutMetrics"))["cssContentSize"]
        if size["width"] > width:
            print(f"{example.name}: {size['width']} pixels wide on a screen of {width}", file=sys.stderr)
        clip = {"x": 0, "y": 0, "width": width, "height": size["height"], "scale": 1}
        shot = await self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        return base64.b64decode(shot["data"])


def _usual_picture(url: str) -> bytes:
    if "youtube" in url:
        return picture(480, 360, "#30343f")
    if "/icons/" in url:
        size = int(url.split("/")[-2])
        return picture(size, size, "#2ba6cb")
    return picture(1160, 300, "#e2f0d9") if "room" in url else picture(200, 150, "#dbeafe")


@contextlib.asynccontextmanager
async def browser() -> AsyncIterator[Browser]:
    """A browser of our own, with a profile that is gone afterwards."""
    program = shutil.which("chromium")
    if program is None:
        raise SystemExit("gallery: no chromium; scripts/apt-install chromium fonts-liberation pngquant")
    with tempfile.TemporaryDirectory(prefix="relayq-gallery-") as profile:
        options = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-port=0")
        process = await asyncio.create_subprocess_exec(
            program, *options, f"--user-data-dir={profile}", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            address = await asyncio.to_thread(_address, Path(profile) / "DevToolsActivePort")
            async with aiohttp.ClientSession() as client, client.ws_connect(address, max_msg_size=0) as socket:
                page = Browser(socket)
                listening = asyncio.create_task(page.listen())
                await page.open()
                yield page
                listening.cancel()
        finally:
            process.kill()
            await process.wait()


def _address(file: Path) -> str:
    """Where the browser listens, once it does; another process writes that file, and tells nobody."""
    give_up_at = time.monotonic() + START_SECONDS
    while time.monotonic() < give_up_at:
        lines = file.read_text().split("\n") if file.exists() else []
        if len(lines) > 1:
            return f"ws://127.0.0.1:{lines[0]}{lines[1]}"
        time.sleep(0.05)
    raise SystemExit("gallery: chromium does not start")


async def take_pictures(names: list[str]) -> None:
    """All pictures, or those of some examples."""
    PICTURES.mkdir(exist_ok=True)
    wanted = [example for example in examples() if not names or example.name in names]
    async with browser() as page:
        for example in wanted:
            for width in WIDTHS:
                path = PICTURES / f"{example.name}-{width}.png"
                path.write_bytes(_smaller(await page.shoot(example, width)))
                size = path.stat().st_size
                print(f"{path.relative_to(ROOT)}: {size} octets")
                if size > MAX_PICTURE_OCTETS:
                    raise SystemExit(f"gallery: {path.name} has more than {MAX_PICTURE_OCTETS} octets")


def _smaller(shot: bytes) -> bytes:
    """The same with a palette."""
    if shutil.which("pngquant") is None:
        raise SystemExit("gallery: no pngquant; scripts/apt-install pngquant")
    return subprocess.run(
        ["pngquant", "--strip", "--speed", "1", "-"], input=shot, capture_output=True, check=True
    ).stdout


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if page or HTML are out of date")
    parser.add_argument("--pictures", action="store_true", help="take the pictures, too")
    parser.add_argument("names", nargs="*", metavar="NAME", help="only the pictures of these examples")
    given = parser.parse_args()
    files = {PAGE: page(), **{example.html_path: example.html() for example in examples()}}
    stale = [path for path, text in files.items() if not path.exists() or path.read_text("utf-8") != text]
    if given.check:
        for path in stale:
            print(f"{path.relative_to(ROOT)} is out of date: run make gallery", file=sys.stderr)
        raise SystemExit(1 if stale else 0)
    for path in stale:
        path.write_text(files[path], "utf-8")
        print(f"wrote {path.relative_to(ROOT)}")
    if given.pictures:
        asyncio.run(take_pictures(given.names))


if __name__ == "__main__":
    main()
