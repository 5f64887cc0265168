"""A tiny transformer in NumPy: loads a folder that `examples/tiny/train.py` wrote, and answers.

One decoder, greedy, a word is a token. Real weights, real attention, no framework: what a suite's
machinery is tested with where no accelerator is. Never runs code that a folder brings.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from meyrin.domain.errors import InvalidInput

FORMAT = "meyrin-tiny-1"
END, SEP, UNKNOWN = "<end>", "<sep>", "<unknown>"
Weights = dict[str, NDArray[np.float32]]
_DTYPES = {"F32": np.float32}
_HEADER_MAX = 1 << 20


@dataclass(frozen=True, slots=True)
class TinyModel:
    """Weights, words and shape; `answer` continues a question until its end."""

    words: tuple[str, ...]
    context: int
    heads: int
    layers: int
    weights: Weights

    def encode(self, text: str) -> list[int]:
        known = {word: number for number, word in enumerate(self.words)}
        unknown = known[UNKNOWN]
        return [known.get(word, unknown) for word in text.lower().split()]

    def answer(self, text: str, max_tokens: int = 64) -> str:
        """The most likely continuation, one word after the other; cut where the context ends."""
        end, sep = self.words.index(END), self.words.index(SEP)
        tokens = [*self.encode(text)[-(self.context - 2) :], sep]
        made: list[int] = []
        while len(made) < max_tokens and len(tokens) < self.context:
            following = int(np.argmax(self.logits(tokens)))
            if following == end:
                break
            tokens.append(following)
            made.append(following)
        return " ".join(self.words[number] for number in made)

    def logits(self, tokens: list[int]) -> NDArray[np.float32]:
        """Scores of every word as the next one after `tokens`."""
        w = self.weights
        x = w["embed"][tokens] + w["position"][: len(tokens)]
        for layer in range(self.layers):
            x = x + self._attend(_norm(x), layer)
            hidden = np.maximum(_norm(x) @ w[f"{layer}.up"], 0)
            x = x + hidden @ w[f"{layer}.down"]
        scores: NDArray[np.float32] = (_norm(x[-1:]) @ w["unembed"])[0]
        return scores

    def _attend(self, x: NDArray[np.float32], layer: int) -> NDArray[np.float32]:
        length, width = x.shape
        each = width // self.heads
        query, key, value = (
            (x @ self.weights[f"{layer}.{name}"]).reshape(length, self.heads, each).swapaxes(0, 1)
            for name in ("query", "key", "value")
        )
        scores = query @ key.swapaxes(1, 2) / np.sqrt(np.float32(each))
        scores = np.where(np.tri(length, dtype=bool), scores, np.float32(-1e9))
        weight = np.exp(scores - scores.max(-1, keepdims=True))
        weight /= weight.sum(-1, keepdims=True)
        mixed = (weight @ value).swapaxes(0, 1).reshape(length, width)
        out: NDArray[np.float32] = mixed @ self.weights[f"{layer}.out"]
        return out


def _norm(x: NDArray[np.float32]) -> NDArray[np.float32]:
    scaled: NDArray[np.float32] = x / np.sqrt((x * x).mean(-1, keepdims=True) + np.float32(1e-5))
    return scaled


def load(folder: Path) -> TinyModel:
    """The model in a folder; InvalidInput says in which of its files the trouble is."""
    config = _json(folder / "config.json")
    if config.get("format") != FORMAT:
        raise _no_model(folder / "config.json", f"its format is not {FORMAT}")
    words = _json(folder / "tokenizer.json").get("words")
    if not isinstance(words, list) or not {END, SEP, UNKNOWN} <= set(words):
        raise _no_model(folder / "tokenizer.json", "it lists no words")
    weights = read_safetensors(folder / "model.safetensors")
    try:
        model = TinyModel(
            tuple(map(str, words)), int(config["context"]), int(config["heads"]),
            int(config["layers"]), weights,
        )  # fmt: skip
        if model.logits([0]).shape != (len(words),):
            raise _no_model(folder / "model.safetensors", "its words are not the tokenizer's")
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise _no_model(folder / "model.safetensors", f"it does not fit its config: {error}") from (
            error
        )
    return model


def read_safetensors(path: Path) -> Weights:
    """Arrays by name. The format: eight bytes of length, a JSON header, the raw arrays."""
    try:
        raw = path.read_bytes()
        (length,) = struct.unpack_from("<Q", raw)
        if length > min(_HEADER_MAX, len(raw) - 8):
            raise ValueError("its header is longer than the file")
        header = json.loads(raw[8 : 8 + length])
        found: Weights = {}
        for name, told in header.items():
            if name == "__metadata__":
                continue
            start, end = (8 + length + int(offset) for offset in told["data_offsets"])
            kind = _DTYPES[told["dtype"]]
            found[name] = np.frombuffer(raw[start:end], dtype=kind).reshape(told["shape"])
    except OSError as error:
        raise _no_model(path, error.strerror or "it can't be read") from error
    except (ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
        raise _no_model(path, f"{type(error).__name__}: {error}") from error
    if not all(np.isfinite(array).all() for array in found.values()):
        raise _no_model(path, "some weights are no numbers")
    return found


def _json(path: Path) -> dict[str, Any]:
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise _no_model(path, error.strerror or "it can't be read") from error
    except ValueError as error:
        raise _no_model(path, str(error)) from error
    if not isinstance(told, dict):
        raise _no_model(path, "it holds no object")
    return told


def _no_model(path: Path, why: str) -> InvalidInput:
    return InvalidInput(
        f"{path.parent} is no model that can be loaded: {path.name}: {why}",
        hint="give a folder with config.json, tokenizer.json and model.safetensors",
        field="model",
        value=str(path.parent),
    )
