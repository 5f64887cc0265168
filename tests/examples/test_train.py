"""The examples are what a user would submit, so they are run here as a batch system runs them."""

from __future__ import annotations

import gzip
import hashlib
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
TRAIN = EXAMPLES / "train"
DATA = TRAIN / "digits.csv.gz"
JOB = {
    "CUDA_VISIBLE_DEVICES": "3",
    "SLURM_JOB_ID": "41",
    "SLURM_JOB_PARTITION": "fast",
    "SLURM_CPUS_PER_TASK": "1",
}


def run(command: list[str], folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("SLURM_", "CUDA_", "ROCR_"))
    }
    return subprocess.run(
        command,
        cwd=folder,
        env={**kept, "PYTHON": sys.executable, **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def train(folder: Path, *options: str, **variables: str) -> subprocess.CompletedProcess[str]:
    script = str(TRAIN / "train.py")
    return run([sys.executable, "-W", "error", script, *options], folder, **variables)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of one short training run with seed 5, and what it printed."""
    folder = tmp_path_factory.mktemp("trained")
    ended = train(folder, "--epochs", "12", "--seed", "5", **JOB)
    assert (ended.returncode, ended.stderr) == (0, "")
    return folder, ended.stdout


def test_accuracy_is_what_the_saved_model_reaches(trained: tuple[Path, str]) -> None:
    folder, _ = trained
    metrics = json.loads((folder / "metrics.json").read_text("utf-8"))
    table = np.loadtxt(gzip.decompress(DATA.read_bytes()).decode().splitlines(), delimiter=",")
    with np.load(folder / "model.npz") as model:
        held_out = table[model["held_out_rows"]]
        hidden = held_out[:, :64] / 16 @ model["hidden_weight"] + model["hidden_bias"]
        scores = np.where(hidden > 0, hidden, 0) @ model["output_weight"] + model["output_bias"]
    right = int((scores.argmax(axis=1) == held_out[:, 64]).sum())

    assert metrics["accuracy"] == right / len(held_out)
    assert metrics["accuracy"] >= 0.95
    assert metrics["held_out_samples"] == len(held_out) == len(np.unique(held_out, axis=0))
    assert metrics["train_samples"] + metrics["held_out_samples"] == len(table) == 1797
    assert np.bincount(held_out[:, 64].astype(int)).tolist() == pytest.approx([36] * 10, abs=1)


def test_metrics_tell_what_was_run_and_where(trained: tuple[Path, str]) -> None:
    folder, _ = trained
    metrics = json.loads((folder / "metrics.json").read_text("utf-8"))
    losses = metrics["loss_by_epoch"]

    assert (metrics["seed"], metrics["epochs"], len(losses)) == (5, 12, 12)
    assert losses[-1] < losses[0] / 10
    assert metrics["accuracy_by_epoch"][-1] == metrics["accuracy"]
    assert metrics["elapsed_s"] > 0
    assert metrics["environment"] == {
        name: value for name, value in JOB.items() if name != "SLURM_CPUS_PER_TASK"
    }


def test_log_has_a_line_per_epoch(trained: tuple[Path, str]) -> None:
    _, log = trained
    assert sum(line.startswith("epoch ") for line in log.splitlines()) == 12
    assert log.splitlines()[-1].startswith("accuracy 9")


def test_same_seed_gives_same_model_and_another_seed_another(tmp_path: Path) -> None:
    arrays = []
    for run_name, seed in (("first", "1"), ("again", "1"), ("other", "2")):
        ended = train(tmp_path, "--epochs", "1", "--seed", seed, "--out", run_name, "--hidden", "8")
        assert ended.returncode == 0, ended.stderr
        with np.load(tmp_path / run_name / "model.npz") as model:
            arrays.append({name: model[name] for name in model.files})
    first, again, other = arrays

    assert first.keys() == again.keys() == other.keys()
    for name in first:
        np.testing.assert_array_equal(first[name], again[name])
        assert not np.array_equal(first[name], other[name])


def test_missing_data_is_named(tmp_path: Path) -> None:
    ended = train(tmp_path, "--data", "nowhere.csv.gz")
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert ended.stderr.startswith("train.py: error: ")
    assert "No such file" in ended.stderr
    assert "nowhere.csv.gz" in ended.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"1,2,3\n", "not a gzipped table"),
        (DATA.read_bytes()[:999], "not a gzipped table"),
        (gzip.compress(b""), "expected 65 columns, found 0"),
        (gzip.compress(b"1,2,3\n"), "expected 65 columns, found 3"),
        (gzip.compress(b"1,2\n1\n"), "not a gzipped table"),
        (gzip.compress(b"17," * 64 + b"1\n"), "a pixel is outside 0..16"),
        (gzip.compress(b"0," * 64 + b"12\n"), "a digit is outside 0..9"),
        (gzip.compress(b"0," * 64 + b"1\n"), "only 0 images of the digit 0"),
    ],
    ids=["plain", "cut", "empty", "narrow", "ragged", "bright", "unknown", "few"],
)
def test_unusable_data_is_refused_with_the_reason(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    data = tmp_path / "data.csv.gz"
    data.write_bytes(content)
    ended = train(tmp_path, "--data", data.name)
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"train.py: error: data.csv.gz: {reason}")
    assert len(ended.stderr.splitlines()) == 1


def test_unusable_option_is_refused(tmp_path: Path) -> None:
    ended = train(tmp_path, "--epochs", "0")
    assert ended.returncode == 2
    assert "'0' is not a whole number above zero" in ended.stderr


def test_shipped_data_is_the_file_its_source_names() -> None:
    checksum = hashlib.sha256(DATA.read_bytes()).hexdigest()
    assert f"`{checksum}`" in (TRAIN / "SOURCE.md").read_text("utf-8")


def test_train_script_runs_the_chosen_python_and_passes_on_its_exit_code(tmp_path: Path) -> None:
    script = str(TRAIN / "train.sh")
    shown = run(["bash", script], tmp_path, PYTHON="echo")
    assert shown.stdout.split() == ["train.py", "--data", "digits.csv.gz", "--out", "."]
    assert run(["bash", script], tmp_path).returncode != 0


def test_sweep_task_estimates_pi_from_its_own_seed(tmp_path: Path) -> None:
    ended = run(
        ["bash", str(EXAMPLES / "array" / "sweep.sh")],
        tmp_path,
        SLURM_ARRAY_JOB_ID="40",
        SLURM_ARRAY_TASK_ID="3",
        SLURM_ARRAY_TASK_COUNT="8",
        **JOB,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    (line,) = ended.stdout.splitlines()
    result = dict(field.split("=") for field in line.split())
    assert (result["task"], result["accelerator"]) == ("3", "3")
    assert abs(float(result["pi"]) - math.pi) < 5 * float(result["uncertainty"]) < 0.01


def test_sweep_outside_an_array_says_so(tmp_path: Path) -> None:
    ended = run(["bash", str(EXAMPLES / "array" / "sweep.sh")], tmp_path)
    assert ended.returncode != 0
    assert "SLURM_ARRAY_TASK_ID: is not set: submit this script as a job array" in ended.stderr
