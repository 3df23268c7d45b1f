"""Training whose loss runs away is ended."""

import math

import pytest
from transformers import TrainerControl, TrainerState, TrainingArguments

from datatrial.errors import DivergedError
from datatrial.training._run import Watch
from datatrial.training.sft import Sft


def logged(loss: float, *before: float) -> None:
    """What happens when this loss is logged after those."""
    losses = [{"loss": one} for one in (*before, loss)]
    state = TrainerState(global_step=7, max_steps=90, log_history=[{"eval_loss": 2.5}, *losses])
    watch = Watch(Sft(learning_rate=0.5), lambda *_: None)
    watch.on_log(TrainingArguments("unused"), state, TrainerControl(), {"loss": loss})


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_no_number_ends_it(loss: float) -> None:
    with pytest.raises(DivergedError, match=r"the loss is no number at step 7 of 90: lower learning_rate \(now 0.5\)"):
        logged(loss, 2.4)


def test_a_loss_that_exploded_ends_it() -> None:
    with pytest.raises(DivergedError, match=r"the loss is 241, after 2.4 at first, at step 7 of 90: lower"):
        logged(241.0, 2.4, 60.0)


@pytest.mark.parametrize("losses", [(2.4,), (239.0, 2.4), (0.4, 0.001), (-3.0, 0.2)])
def test_a_loss_that_is_only_high_does_not(losses: tuple[float, ...]) -> None:
    logged(*losses)
