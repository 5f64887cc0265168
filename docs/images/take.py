"""Takes the pictures of the README anew, from the real pages of a real demo.

    .venv/bin/python docs/images/take.py

Runs `make demo`'s program, submits an array beside what it did so that something runs and waits,
and photographs the overview and the trained job in headless Chromium. Needs what the tests need.
"""  # noqa: INP001 - a script, in no package

from __future__ import annotations

import os
import re
import signal
import struct
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
WIDTH = 1280
HEIGHTS = {"overview": 732, "job": 905}
MOST_BYTES = 150_000


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="meyrin-pictures-") as folder:
        demo = subprocess.Popen(
            [sys.executable, "-m", "meyrin.cli.demo"],
            env=os.environ | {"TMPDIR": folder, "ONCE": "", "LOGNAME": "ada"},
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            link = served(demo)
            state = next(Path(folder).glob("meyrin-demo-*"))
            start_something(state)
            photograph(link)
        finally:
            demo.send_signal(signal.SIGINT)
            demo.communicate(timeout=120)


def served(demo: subprocess.Popen[str]) -> str:
    """The log-in link that the demo prints at its end."""
    assert demo.stdout is not None
    for line in demo.stdout:
        if found := re.search(r"The pages: (\S+)", line):
            return found[1]
    raise SystemExit("the demo ended without saying where its pages are")


def start_something(state: Path) -> None:
    """An array that fills both sites and waits for more."""
    command = ["submit", "--quiet", "--job-name=sweep", "--array=0-8", "--gpus=1", "--mem=100M",
               "--time=5", "--output=/dev/null", "--wrap=sleep 120"]  # fmt: skip
    subprocess.run(
        [sys.executable, "-m", "meyrin", *command],
        env=os.environ | {"MEYRIN_DIR": str(state)},
        cwd=state,
        check=True,
    )


def photograph(link: str) -> None:
    sys.path.insert(0, str(ROOT))
    from playwright.sync_api import expect, sync_playwright  # noqa: PLC0415
    from tests.components import CHROMIUM_ARGS, find_chromium  # noqa: PLC0415

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=find_chromium(), args=list(CHROMIUM_ARGS)
        )
        page = browser.new_page(
            viewport={"width": WIDTH, "height": max(HEIGHTS.values())}, color_scheme="light"
        )
        page.goto(link)
        expect(page.locator("main")).to_contain_text("6 running")
        take(page, "overview")
        page.goto(link.partition("/login")[0] + "/jobs/1")
        expect(page.locator("main")).to_contain_text("accuracy 9")
        take(page, "job")
        browser.close()


def take(page: object, name: str) -> None:
    clip = {"x": 0, "y": 0, "width": WIDTH, "height": HEIGHTS[name]}
    raw: bytes = page.screenshot(clip=clip, animations="disabled")  # type: ignore[attr-defined]
    small = squeezed(raw)
    if len(small) > MOST_BYTES:
        raise SystemExit(f"{name}.png has {len(small)} bytes: crop it, in HEIGHTS")
    (HERE / f"{name}.png").write_bytes(small)
    print(f"docs/images/{name}.png  {len(small)} bytes")  # noqa: T201


def squeezed(png: bytes) -> bytes:
    """The same picture with a palette: its few hundred colours brought down to 256 at most."""
    at, data = 8, b""
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        kind, body = png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        if kind == b"IHDR":
            width, height, _, colour = struct.unpack(">IIBB", body[:10])
        data += body if kind == b"IDAT" else b""
        at += 12 + length
    pixels = unfiltered(zlib.decompress(data), width, height, {2: 3, 6: 4}[colour])
    palette, indices = reduced(pixels)
    rows = np.zeros((height, width + 1), np.uint8)  # a zero before each row: no filter
    rows[:, 1:] = indices.reshape(height, width)
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    parts = [(b"IHDR", header), (b"PLTE", palette.tobytes()),
             (b"IDAT", zlib.compress(rows.tobytes(), 9)), (b"IEND", b"")]  # fmt: skip
    return png[:8] + b"".join(chunk(kind, body) for kind, body in parts)


def unfiltered(raw: bytes, width: int, height: int, depth: int) -> np.ndarray:
    """Pixels as (height * width, 3), by the PNG specification, section 9."""
    stride = width * depth
    above = bytearray(stride)
    rows = []
    for y in range(height):
        kind, row = raw[y * (stride + 1)], bytearray(raw[y * (stride + 1) + 1 :][:stride])
        for x in range(stride if kind else 0):
            a = row[x - depth] if x >= depth else 0
            b, c = above[x], above[x - depth] if x >= depth else 0
            add = (0, a, b, (a + b) >> 1, paeth(a, b, c) if kind == 4 else 0)[kind]
            row[x] = (row[x] + add) & 255
        rows.append(bytes(row))
        above = row
    pixels = np.frombuffer(b"".join(rows), np.uint8).reshape(-1, depth)
    return pixels[:, :3]


def paeth(a: int, b: int, c: int) -> int:
    """Of left, above and above left the nearest to a + b - c."""
    near = a + b - c
    return min((abs(near - a), 0, a), (abs(near - b), 1, b), (abs(near - c), 2, c))[2]


def reduced(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """256 colours, frequent or vivid ones, and for each pixel the nearest of them."""
    colours, which, count = np.unique(pixels, axis=0, return_inverse=True, return_counts=True)
    vivid = colours.max(axis=1).astype(int) - colours.min(axis=1)
    kept = np.argsort(-count * (1 + vivid), kind="stable")[:256]
    palette = colours[kept]
    far = colours.astype(int)[:, None, :] - palette.astype(int)[None, :, :]
    nearest = (far**2).sum(axis=2).argmin(axis=1)
    return palette, nearest[which.reshape(-1)].astype(np.uint8)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


if __name__ == "__main__":
    main()
