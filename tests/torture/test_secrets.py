"""Secrets planted in the environment of a user: searched for in all that commands write and say."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.torture.conftest import Figure
from tests.torture.runs import ONE_THREAD

pytestmark = [pytest.mark.torture, pytest.mark.timeout(1200)]
PLANTED = {
    "HF_TOKEN": "hf_" + "p1anted" * 5,
    "AWS_SECRET_ACCESS_KEY": "p1anted/secret+key/of/amazon",
    "WANDB_API_KEY": "p1anted0wandb0key",
    "MY_PASSWORD": "p1anted-password",
}
SOURCE = {".py", ".pyc"}  # of the reward function, which knows a secret by itself
SECRET, OPEN = b"p1anted", b"burrow"  # that what is open is found says that the search works
COMMANDS = [
    ["check", "study.yaml"],
    ["plan", "study.yaml"],
    ["run", "study.yaml", "seeds=[0]", "--jobs", "2", "--device", "cpu"],
    ["run", "study.yaml", "seeds=[0]", "--jobs", "2", "--device", "cpu"],
    ["status", "study.yaml", "seeds=[0]"],
    ["explain", "study.yaml", "seeds=[0]", "sft careful, seed 0"],
    ["report", "study.yaml", "seeds=[0]"],
    ["export", "study.yaml", "seeds=[0]", "--out", "exported"],
    ["gc", "study.yaml", "seeds=[0]"],
]
LEAKY = '''\
"""A reward that tells all it knows."""
import os


def told(prompts, completions, **columns):
    print("what is in the environment:", dict(os.environ), flush=True)
    return [float(len(completion)) for completion in completions]


def fails(prompts, completions, **columns):
    raise ValueError(f"cannot reach https://me:p1anted-password@rewards.example/?token={os.environ['HF_TOKEN']}")
'''
GRPO = "grpo: {budget: {steps: 1}, batch_size: 2, num_generations: 2, max_completion_length: 4}"
ARMS = """telling: [{grpo: pairs, reward_function: "rewards.py:told"}]
  failing: [{grpo: pairs, reward_function: "rewards.py:fails"}]"""


def test_planted_secrets_are_in_nothing_that_is_written_or_said(study: Path, figure: Figure, tmp_path: Path) -> None:
    (tmp_path / "rewards.py").write_text(LEAKY)
    text = study.read_text().replace("training:\n", f"training:\n  {GRPO}\n").replace("arms:\n", f"arms:\n  {ARMS}\n")
    (tmp_path / "study.yaml").write_text(text)
    said = b"".join(answer(tmp_path, *command) for command in COMMANDS)
    written = [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix not in SOURCE]
    found = [str(path) for path in written if SECRET in path.read_bytes()]
    assert not found
    assert SECRET not in said
    assert b"***" in said  # of the reward that failed
    assert any(b"what is in the environment" in path.read_bytes() for path in written)
    assert any(OPEN in path.read_bytes() for path in written)
    figure("files searched for planted secrets", len(written))


def answer(folder: Path, *command: str) -> bytes:
    environment = {**os.environ, **ONE_THREAD, **PLANTED, "COLUMNS": "200"}
    ran = subprocess.run(
        [sys.executable, "-m", "datatrial.cli", *command], cwd=folder, env=environment, capture_output=True
    )
    assert b"Traceback" not in ran.stdout + ran.stderr
    return ran.stdout + ran.stderr
