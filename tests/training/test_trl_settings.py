import os
import subprocess
import sys
import time

import pytest
from pydantic import ValidationError

from datatrial.training._base import Stage
from datatrial.training._trl_settings import OWNED, known_settings
from datatrial.training.dpo import Dpo
from datatrial.training.sft import Sft


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "config"),
    [("sft", "SFTConfig"), ("dpo", "DPOConfig"), ("kto", "KTOConfig"), ("orpo", "ORPOConfig"), ("grpo", "GRPOConfig")],
)
def test_the_settings_known_are_the_fields_of_trls_config(kind: str, config: str) -> None:
    import dataclasses

    import trl
    from trl.experimental import orpo

    found = getattr(orpo if kind == "orpo" else trl, config)
    assert known_settings(kind) == sorted(field.name for field in dataclasses.fields(found))


def test_the_settings_are_known_without_importing_trl_and_at_once() -> None:
    code = (
        "import sys; from datatrial.training.sft import Sft; Sft(trl={'weight_decay': 0.1}); "
        "heavy = {'torch', 'trl', 'transformers', 'peft', 'datasets', 'polars'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, env=environment)
    known_settings.cache_clear()
    start = time.process_time()
    known_settings("sft")
    assert time.process_time() - start < 0.3


def test_every_setting_of_ours_is_one_of_trls() -> None:
    assert OWNED.keys() <= {name for kind in Stage.kinds() for name in known_settings(kind)}


def test_a_setting_unknown_to_trl_is_refused_with_the_nearest() -> None:
    with pytest.raises(
        ValidationError, match=r"TRL has no setting 'weigth_decay' for sft; did you mean 'weight_decay'"
    ):
        Sft.model_validate({"trl": {"weigth_decay": 0.1}})
    with pytest.raises(ValidationError, match="'packing' for dpo"):
        Dpo.model_validate({"trl": {"packing": True}})


@pytest.mark.parametrize(
    ("name", "pointer"),
    [("seed", "seeds"), ("learning_rate", "learning_rate"), ("bf16", "dtype"), ("use_cpu", "--device")],
)
def test_a_setting_with_a_word_of_the_studys_own_points_to_it(name: str, pointer: str) -> None:
    with pytest.raises(ValidationError, match=f"TRL's '{name}' cannot be set here: .*{pointer}"):
        Sft.model_validate({"trl": {name: 1}})


@pytest.mark.parametrize("loss", ["bco_pair", ["sigmoid", "sft"]])
def test_a_loss_that_is_no_mean_over_pairs_is_refused(loss: str | list[str]) -> None:
    with pytest.raises(ValidationError, match="no mean over pairs"):
        Dpo.model_validate({"trl": {"loss_type": loss}})
    Dpo.model_validate({"trl": {"loss_type": ["ipo", "apo_zero"]}})


def test_every_problem_is_said_at_once() -> None:
    with pytest.raises(ValidationError, match=r"(?s)'seed'.*'nonsense'"):
        Dpo.model_validate({"trl": {"seed": 1, "nonsense": 2}})


def test_what_is_passed_through_is_part_of_the_identity() -> None:
    assert Sft(trl={"weight_decay": 0.1}).identity() != Sft().identity()
