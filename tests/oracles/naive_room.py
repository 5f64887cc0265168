"""The plain twin of `meyrin.engine.room`: a number for each node, part and second.

Only a few seconds are told apart; all that lies behind the last one is one last second.
"""

from __future__ import annotations

SECONDS = 40
NEVER = 1 << 62


class NaiveRoom:
    def __init__(self, capacity):
        self.free = [[tuple(node) for _ in range(SECONDS + 1)] for node in capacity]

    def add(self, node, amount, sign, start, end):
        for second in range(start, SECONDS + 1 if end >= NEVER else end):
            free = self.free[node][second]
            self.free[node][second] = tuple(f + sign * a for f, a in zip(free, amount, strict=True))

    def fits(self, node, asked, start, walltime):
        seconds = range(start, min(start + max(walltime, 1), SECONDS + 1))
        return all(
            all(f >= a for f, a in zip(self.free[node][second], asked, strict=True))
            for second in seconds
        )

    def with_room(self, nodes, asked, start, walltime):
        return [node for node in nodes if self.fits(node, asked, start, walltime)]

    def earliest(self, nodes, asked, count, walltime, not_before, packed):
        for start in range(not_before, SECONDS + 1):
            ready = self.with_room(nodes, asked, start, walltime)
            if len(ready) >= count:
                return start, self.order(ready, start, packed)[:count]
        return -1, []

    def order(self, nodes, at, packed):
        sign = 1 if packed else -1
        return sorted(nodes, key=lambda node: [sign * free for free in self.free[node][at]])

    def longest(self, nodes, asked, count, at):
        for second in range(at, SECONDS + 1):
            if len(self.with_room(nodes, asked, at, second - at + 1)) < count:
                return second - at
        return -1

    def free_at(self, nodes, at):
        return [sum(self.free[node][at][part] for node in nodes) for part in range(3)]

    def squeeze(self, nodes, asked, count, start, end):
        ready = self.order(self.with_room(nodes, asked, start, 1), start, packed=True)[:count]
        others = [node for node in nodes if not self.fits(node, asked, start, 1)]
        others = self.order(others, start, packed=False)[: count - len(ready)]
        parts = [(node, asked) for node in ready]
        for node in others:
            free = self.free[node][start]
            parts.append((node, tuple(min(a, f) for a, f in zip(asked, free, strict=True))))
        for node, part in parts:
            self.add(node, part, -1, start, end)
