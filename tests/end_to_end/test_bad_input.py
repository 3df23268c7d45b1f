"""Arms that cannot be trained beside one that can: each says why in one line, and the others go on."""

import re
from pathlib import Path

import pytest
import yaml

from datatrial import run

pytestmark = pytest.mark.slow
BAD = {
    "diverges": ({"learning_rate": 1e30}, r"the loss is no number at step \d+ of \d+: lower learning_rate"),
    "misnamed": ({"lora": {"target_modules": ["q_prj"]}}, r"no layer called 'q_prj'.*did you mean 'q_proj'"),
    "untold": ({"prompt": "chat"}, r"chat template"),
    "too-short": ({"max_length": 4}, r"max_length"),
}


def test_arms_with_bad_input_say_so_and_the_others_go_on(tiny: Path, tmp_path: Path) -> None:
    study = yaml.safe_load(tiny.read_text())
    arms = {"base": [], "good": [{"sft": "careful"}]}
    arms |= {name: [{"sft": "careful", **settings}] for name, (settings, _) in BAD.items()}
    arms["after-bad"] = [{"arm": "diverges"}, {"dpo": "pairs"}]
    changes = {"seeds": [0], "arms": arms, "benchmarks": study["benchmarks"][:1], "contrasts": []}
    tiny.write_text(yaml.safe_dump({**study, **changes}, sort_keys=False))
    results = run(tiny, tmp_path / "store", jobs=1, device="cpu")
    assert len(results.failed) == len(BAD)
    reasons = "\n".join(results.failed.values())
    for _, message in BAD.values():
        assert re.search(message, reasons), message
    assert len(reasons.splitlines()) == len(BAD)
    assert set(results.scores["arm"]) == {"base", "good"}
