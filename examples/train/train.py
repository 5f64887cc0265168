"""Train a small classifier of handwritten digits with NumPy alone.

This is the ordinary user script that Meyrin's demo sends to a site: it knows nothing of Meyrin and
runs the same by hand, under Slurm, or anywhere else. It reads one file, prints one line per epoch,
and writes `metrics.json` and `model.npz`. NumPy computes on the processor: the script records the
accelerators that its job was given, and never uses them.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import os
import sys
import time
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# BLAS reads these once, while NumPy is imported: take the cores the job was given, and no more.
CORES = os.environ.get("SLURM_CPUS_PER_TASK", "1")
os.environ["OMP_NUM_THREADS"] = CORES
os.environ["OPENBLAS_NUM_THREADS"] = CORES
os.environ["MKL_NUM_THREADS"] = CORES

try:
    import numpy as np
    from numpy.typing import NDArray
except ImportError as missing:
    sys.exit(f"train.py: error: {missing}; this script needs NumPy in {sys.executable}")

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

SIDE = 8  # an image is SIDE x SIDE pixels
INK_MAX = 16  # the darkest pixel
CLASSES = 10
HELD_OUT_FRACTION = 0.2
BATCH = 32
LEARNING_RATE = 0.02
MOMENTUM = 0.9
SEEN = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "SLURM_JOB_ID", "SLURM_JOB_PARTITION")


class InputError(Exception):
    """The data or an option can't be used; the message says which and why."""


@dataclass(frozen=True)
class Images:
    """Flattened images with ink between 0 and 1, and the digit that each one shows."""

    pixels: Floats
    digits: Integers


class Network:
    """Pixels, one hidden layer of rectified units, and a score for each digit."""

    def __init__(self, hidden: int, rng: np.random.Generator) -> None:
        pixels = SIDE * SIDE
        self.weights: dict[str, Floats] = {
            "hidden_weight": rng.normal(0.0, np.sqrt(2 / pixels), (pixels, hidden)),
            "hidden_bias": np.zeros(hidden),
            "output_weight": rng.normal(0.0, np.sqrt(1 / hidden), (hidden, CLASSES)),
            "output_bias": np.zeros(CLASSES),
        }
        self.velocity = {name: np.zeros_like(value) for name, value in self.weights.items()}

    def scores(self, pixels: Floats) -> Floats:
        return self._output(self._hidden(pixels))

    def learn(self, batch: Images, learning_rate: float) -> float:
        """Take one step of gradient descent with momentum; return the batch's mean loss."""
        hidden = self._hidden(batch.pixels)
        probabilities = softmax(self._output(hidden))
        rows = np.arange(len(batch.digits))
        loss = -np.log(probabilities[rows, batch.digits] + 1e-12).mean()

        # The gradient of the loss by each score is what was said minus what is true.
        by_score = probabilities
        by_score[rows, batch.digits] -= 1.0
        by_score /= len(rows)
        by_hidden = (by_score @ self.weights["output_weight"].T) * (hidden > 0)
        gradient = {
            "hidden_weight": batch.pixels.T @ by_hidden,
            "hidden_bias": by_hidden.sum(axis=0),
            "output_weight": hidden.T @ by_score,
            "output_bias": by_score.sum(axis=0),
        }
        for name, slope in gradient.items():
            velocity = self.velocity[name]
            velocity *= MOMENTUM
            velocity -= learning_rate * slope
            self.weights[name] += velocity
        return float(loss)

    def _hidden(self, pixels: Floats) -> Floats:
        return np.maximum(pixels @ self.weights["hidden_weight"] + self.weights["hidden_bias"], 0.0)

    def _output(self, hidden: Floats) -> Floats:
        return hidden @ self.weights["output_weight"] + self.weights["output_bias"]


def softmax(scores: Floats) -> Floats:
    odds = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(odds / odds.sum(axis=1, keepdims=True))


def read_images(packed: bytes) -> Images:
    """Unpack the data set: a gzipped row per image, its pixels in 0..16 and then its digit."""
    try:
        lines = gzip.decompress(packed).decode("ascii").splitlines()
        table = np.loadtxt(lines, delimiter=",", dtype=np.int64, ndmin=2) if lines else None
    except (OSError, EOFError, ValueError, zlib.error) as cause:
        raise InputError(f"not a gzipped table of integers: {cause}") from cause
    if table is None or table.shape[1] != SIDE * SIDE + 1:
        columns = 0 if table is None else table.shape[1]
        raise InputError(f"expected {SIDE * SIDE + 1} columns, found {columns}")
    ink, digits = table[:, :-1], table[:, -1]
    if ink.min() < 0 or ink.max() > INK_MAX:
        raise InputError(f"a pixel is outside 0..{INK_MAX}")
    if digits.min() < 0 or digits.max() >= CLASSES:
        raise InputError(f"a digit is outside 0..{CLASSES - 1}")
    return Images(ink / INK_MAX, digits)


def choose_held_out(digits: Integers, rng: np.random.Generator) -> Integers:
    """Choose the rows to test on: the same share of every digit, in random order."""
    chosen = []
    for digit in range(CLASSES):
        rows = rng.permutation(np.flatnonzero(digits == digit))
        share = round(HELD_OUT_FRACTION * len(rows))
        if share == 0:
            raise InputError(f"only {len(rows)} images of the digit {digit}: too few to split")
        chosen.append(rows[:share])
    return np.sort(np.concatenate(chosen))


def add_shifts(images: Images) -> Images:
    """Add each image moved by one pixel in all eight directions: nine times as many to learn."""
    framed = np.pad(images.pixels.reshape(-1, SIDE, SIDE), ((0, 0), (1, 1), (1, 1)))
    moved = [
        framed[:, down : down + SIDE, right : right + SIDE].reshape(-1, SIDE * SIDE)
        for down in range(3)
        for right in range(3)
    ]
    return Images(np.concatenate(moved), np.tile(images.digits, len(moved)))


def measure_accuracy(network: Network, images: Images) -> float:
    return float((network.scores(images.pixels).argmax(axis=1) == images.digits).mean())


def train(
    network: Network, known: Images, held_out: Images, epochs: int, rng: np.random.Generator
) -> tuple[list[float], list[float]]:
    """Train in place; return the mean loss and the held-out accuracy after each epoch."""
    losses, accuracies = [], []
    for epoch in range(epochs):
        learning_rate = LEARNING_RATE * (1 - epoch / epochs)
        order = rng.permutation(len(known.digits))
        total = 0.0
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            batch = Images(known.pixels[rows], known.digits[rows])
            total += network.learn(batch, learning_rate) * len(rows)
        losses.append(total / len(order))
        accuracies.append(measure_accuracy(network, held_out))
        print(
            f"epoch {epoch + 1:3d}/{epochs}  loss {losses[-1]:.4f}  held out {accuracies[-1]:.2%}",
            flush=True,
        )
    return losses, accuracies


def run(options: argparse.Namespace) -> None:
    started = time.perf_counter()
    packed = options.data.read_bytes()
    try:
        images = read_images(packed)
        rng = np.random.default_rng(options.seed)
        held_out_rows = choose_held_out(images.digits, rng)
    except InputError as cause:
        raise InputError(f"{options.data}: {cause}") from cause
    options.out.mkdir(parents=True, exist_ok=True)

    held_out = Images(images.pixels[held_out_rows], images.digits[held_out_rows])
    known = Images(
        np.delete(images.pixels, held_out_rows, axis=0), np.delete(images.digits, held_out_rows)
    )
    seen = {name: os.environ[name] for name in SEEN if name in os.environ}
    print(f"{len(known.digits)} images to learn from, {len(held_out.digits)} held out", flush=True)
    print("seen by this job:", json.dumps(seen), flush=True)

    network = Network(options.hidden, rng)
    losses, accuracies = train(network, add_shifts(known), held_out, options.epochs, rng)

    metrics = {
        "accuracy": accuracies[-1],
        "accuracy_by_epoch": accuracies,
        "loss_by_epoch": losses,
        "epochs": options.epochs,
        "hidden": options.hidden,
        "seed": options.seed,
        "train_samples": len(known.digits),
        "held_out_samples": len(held_out.digits),
        "data_sha256": hashlib.sha256(packed).hexdigest(),
        "elapsed_s": round(time.perf_counter() - started, 3),
        "environment": seen,
    }
    # The held-out rows travel with the model, so that anyone can check the accuracy.
    model: dict[str, Any] = {"held_out_rows": held_out_rows, **network.weights}
    np.savez(options.out / "model.npz", **model)
    (options.out / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", "utf-8")
    print(
        f"accuracy {metrics['accuracy']:.2%} on {metrics['held_out_samples']} held-out images"
        f" after {metrics['elapsed_s']:.1f} s",
        flush=True,
    )


def parse_options(arguments: list[str] | None) -> argparse.Namespace:
    def count(text: str) -> int:
        if not text.isdecimal() or int(text) == 0:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above zero")
        return int(text)

    def seed(text: str) -> int:
        if not text.isdecimal():
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
        return int(text)

    parser = argparse.ArgumentParser(prog="train.py", description=__doc__.split("\n")[0])
    beside = Path(__file__).with_name("digits.csv.gz")
    parser.add_argument("--data", type=Path, default=beside, help="images (default: %(default)s)")
    parser.add_argument("--epochs", type=count, default=100, help="default: %(default)s")
    parser.add_argument("--hidden", type=count, default=256, help="units (default: %(default)s)")
    parser.add_argument("--seed", type=seed, default=7, help="default: %(default)s")
    parser.add_argument("--out", type=Path, default=Path(), help="results (default: this folder)")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    try:
        run(parse_options(arguments))
    except (InputError, OSError, MemoryError) as error:
        print(f"train.py: error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
