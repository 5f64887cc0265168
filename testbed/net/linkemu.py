#!/usr/bin/env python3
"""A lossy, slow link between two network namespaces, in user space.

For kernels without the netem queue discipline. Makes a TAP device in each of
two namespaces and passes Ethernet frames between them, with delay, jitter,
loss and a rate, each way. Settings can be changed while it runs: write a line
such as  delay=0.2 loss=0.1 down=0  to its standard input or to --control FILE
(a FIFO). down=1 drops everything (a partition without any error to the peers);
down=ab or down=ba drops one direction only.

Root only. Example:
  linkemu.py --a hub:10.99.0.1/24 --b agent:10.99.0.2/24 --delay 0.05 --loss 0.01
"""

import argparse
import asyncio
import fcntl
import os
import random
import signal
import struct
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x0002, 0x1000


def ip(*args):
    subprocess.run(["ip", *args], check=True)


def open_tap(ns, addr, name, made):
    if not Path(f"/var/run/netns/{ns}").exists():
        ip("netns", "add", ns)
        made.append(ns)
        ip("-n", ns, "link", "set", "lo", "up")
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH", name.encode(), IFF_TAP | IFF_NO_PI))
    ip("link", "set", name, "netns", ns)  # the open descriptor stays with us
    ip("-n", ns, "addr", "add", addr, "dev", name)
    ip("-n", ns, "link", "set", name, "mtu", "1500", "up")
    return fd


class Link:
    def __init__(self, o):
        self.delay, self.jitter, self.loss, self.rate, self.down = (
            o.delay,
            o.jitter,
            o.loss,
            o.rate,
            "0",
        )
        self.free = {"ab": 0.0, "ba": 0.0}  # when each direction's line is free again
        self.seen = {"ab": 0, "ba": 0}
        self.lost = {"ab": 0, "ba": 0}

    def set(self, line):
        for word in line.split():
            key, _, value = word.partition("=")
            if key in ("delay", "jitter", "loss", "rate"):
                setattr(self, key, float(value))
            elif key == "down":
                self.down = value
            elif key == "stats":
                print(self.seen, "lost", self.lost, flush=True)

    def forward(self, loop, src, dst, way):
        try:
            frame = os.read(src, 65536)
        except BlockingIOError:
            return
        self.seen[way] += 1
        if self.down in ("1", way) or random.random() < self.loss:
            self.lost[way] += 1
            return
        now = loop.time()
        start = max(now, self.free[way])
        sent = start + (len(frame) * 8 / self.rate if self.rate else 0)
        if sent - now > 1:  # a queue of at most one second
            self.lost[way] += 1
            return
        self.free[way] = sent
        at = sent + max(0.0, self.delay + random.uniform(-self.jitter, self.jitter))
        loop.call_at(at, self.write, dst, frame)

    @staticmethod
    def write(dst, frame):
        with suppress(OSError):  # the far end is gone: as if the frame were lost
            os.write(dst, frame)


async def main():
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("--a", required=True, help="NAMESPACE:ADDRESS/BITS")
    p.add_argument("--b", required=True)
    p.add_argument("--delay", type=float, default=0, help="seconds, each way")
    p.add_argument("--jitter", type=float, default=0)
    p.add_argument("--loss", type=float, default=0, help="0 to 1, each way")
    p.add_argument("--rate", type=float, default=0, help="bits per second, 0: unlimited")
    p.add_argument("--control", help="FIFO to make and to read settings from")
    o = p.parse_args()
    made, link, loop, stop = [], Link(o), asyncio.get_running_loop(), asyncio.Event()
    (na, aa), (nb, ab) = o.a.split(":", 1), o.b.split(":", 1)
    fa, fb = (
        open_tap(na, aa, f"em{os.getpid() % 100000}a", made),
        open_tap(nb, ab, f"em{os.getpid() % 100000}b", made),
    )
    loop.add_reader(fa, link.forward, loop, fa, fb, "ab")
    loop.add_reader(fb, link.forward, loop, fb, fa, "ba")
    ctl = sys.stdin.fileno()
    if o.control:
        with suppress(FileExistsError):
            os.mkfifo(o.control)
        ctl = os.open(o.control, os.O_RDWR | os.O_NONBLOCK)

    def command():
        data = os.read(ctl, 4096).decode()
        if not data:
            loop.remove_reader(ctl)
        for line in data.splitlines():
            link.set(line)

    with suppress(PermissionError):  # standard input may be a plain file
        loop.add_reader(ctl, command)
    for s in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(s, stop.set)
    print("ready", flush=True)
    await stop.wait()
    os.close(fa), os.close(fb)
    for ns in made:
        ip("netns", "del", ns)
    if o.control:
        Path(o.control).unlink()  # noqa: ASYNC240


asyncio.run(main())
