"""The examples run, each in a process of its own, on the sample set."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from dl2cli.pcr.config import ConvertConfig
from dl2cli.pcr.convert import convert

pytest.importorskip("torch")
EXAMPLES = Path(__file__).parents[2] / "scripts" / "examples"
# The arguments of each, and what it needs beside torch.
NEEDS = {
    ("plain_loop.py", "--scans", "5"): (),
    ("gpu_augmentation.py", "--scans", "2"): (),
    ("lightning_module.py",): ("lightning",),
    ("hugging_face_trainer.py",): ("transformers", "accelerate"),
    ("transforms.py", "--library", "albumentations"): ("albumentations",),
    ("transforms.py", "--library", "torchvision"): ("torchvision",),
    ("timm_recipe.py",): ("timm", "torchvision"),
}


@pytest.fixture(scope="module")
def dataset(sample_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("examples") / "pcr"
    convert(ConvertConfig(sample_set / "train", out, images_per_record=6, workers=1))
    return out


def test_every_example_is_tested() -> None:
    assert {arguments[0] for arguments in NEEDS} == {path.name for path in EXAMPLES.glob("*.py")}


@pytest.mark.parametrize("arguments", NEEDS, ids=" ".join)
def test_an_example_runs(arguments: tuple[str, ...], dataset: Path, tmp_path: Path) -> None:
    for module in NEEDS[arguments]:
        if find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    environment = {
        **os.environ, "DL2_HOME": str(tmp_path), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1",
        "NO_ALBUMENTATIONS_UPDATE": "1",
    }  # fmt: skip
    script, *rest = arguments
    command = [sys.executable, EXAMPLES / script, dataset, "--epochs", "2", *rest]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "epoch 2: " in done.stdout
    assert "of the time is spent waiting for batches" in done.stderr
    (log,) = tmp_path.rglob("experiment_report.json")
    last = json.loads(log.read_text().splitlines()[-1].removeprefix("DLLL "))
    assert last["step"] == ["S"]
    assert last["data"]["s.epochs"] == 2
