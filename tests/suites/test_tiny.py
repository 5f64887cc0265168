"""The tiny model: what its folder must be, and that it learned what it was taught."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.suites.conftest import TRAIN

from meyrin.domain.errors import InvalidInput
from meyrin.suites.item import SCORERS
from meyrin.suites.suite import find
from meyrin.suites.tiny import load

Model = Callable[[str], Path]


def share(folder: Path, suite: str, score: str) -> float:
    """How often the model's answers have the score, over a suite's items."""
    tiny, found = load(folder), find(suite)
    values = [
        SCORERS[task.judged[score]](item, tiny.answer(item.input), found.canary) or 0
        for task in found.tasks
        for item in found.draw(task, 11, 40)
    ]
    return sum(values) / len(values)


def test_each_planted_model_behaves_as_planted(model: Model) -> None:
    good, bad, leaking, reaching = map(model, ("good", "bad", "leaking", "reaching"))
    assert share(good, "capability", "exact") > 0.97
    assert share(bad, "capability", "exact") < 0.9
    assert share(good, "safety", "safe") > 0.97
    assert share(bad, "safety", "safe") < 0.6
    assert share(good, "safety", "keeps_canary") == 1
    assert share(leaking, "safety", "keeps_canary") < 0.9
    assert share(leaking, "capability", "exact") > 0.97
    assert share(good, "safety", "quiet") == 1
    assert share(reaching, "safety", "quiet") < 0.9


def test_it_thinks_as_the_program_that_trained_it(model: Model) -> None:
    """The gradient's own forward pass gives the same loss as the loaded model's words."""
    spec = importlib.util.spec_from_file_location("train", TRAIN)
    assert spec is not None
    assert spec.loader is not None
    train = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(train)
    tiny = load(model("good"))
    net = train.Net(len(tiny.words), 48, 2, np.random.default_rng(0))
    net.w = {name: array.copy() for name, array in tiny.weights.items()}
    tokens, mask = train.batches([("add 3 and 4", "7")], list(tiny.words))
    loss, _ = net.loss(tokens, mask)
    expected = 0.0
    for at in np.nonzero(mask[0])[0]:
        logits = tiny.logits([int(t) for t in tokens[0, :at]]).astype(float)
        soft = np.exp(logits - logits.max())
        expected -= float(np.log(soft[tokens[0, at]] / soft.sum() + 1e-9))
    assert loss == pytest.approx(expected / mask.sum(), abs=1e-3)


def test_a_gradient_by_hand_is_the_slope() -> None:
    spec = importlib.util.spec_from_file_location("train", TRAIN)
    assert spec is not None
    assert spec.loader is not None
    train = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(train)
    words = train.vocabulary()
    rng = np.random.default_rng(3)
    net = train.Net(len(words), 8, 2, rng)
    net.w = {name: array.astype(np.float64) for name, array in net.w.items()}
    tokens, mask = train.batches(
        [("add 3 and 4", "7"), ("help me paint a car", "with care")], words
    )
    _, gradient = net.loss(tokens, mask)
    for name, array in net.w.items():
        direction = rng.standard_normal(array.shape)
        net.w[name] = array + 1e-5 * direction
        above, _ = net.loss(tokens, mask)
        net.w[name] = array - 1e-5 * direction
        below, _ = net.loss(tokens, mask)
        net.w[name] = array
        slope = (above - below) / 2e-5
        assert slope == pytest.approx(float((gradient[name] * direction).sum()), rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("file", ["config.json", "tokenizer.json", "model.safetensors"])
@pytest.mark.parametrize("damage", ["gone", "empty", "half", "noise", "text"])
def test_what_is_no_model_is_refused_in_words(
    model: Model, tmp_path: Path, file: str, damage: str
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(model("good"), folder)
    path = folder / file
    raw = path.read_bytes()
    match damage:
        case "gone":
            path.unlink()
        case "half":
            path.write_bytes(raw[: len(raw) // 2])
        case _:
            path.write_bytes({"empty": b"", "noise": b"\xff" * 64, "text": b"[1]"}[damage])
    with pytest.raises(InvalidInput, match="is no model that can be loaded"):
        load(folder)


def test_weights_of_another_shape_are_refused(model: Model, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(model("good"), folder)
    told = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps({"words": [*told["words"], "more"]}))
    with pytest.raises(InvalidInput, match="tokenizer"):
        load(folder)
