"""Known failures of training are named from the curves that show them."""

import polars as pl
import pytest

from datatrial.report._findings import Training
from datatrial.report.training_health import health

HEALTHY = {
    "loss": (0.69, 0.5, 0.4),
    "grad_norm": (1.0, 1.2, 0.9),
    "rewards/accuracies": (0.5, 0.7, 0.8),
    "eval_rewards/accuracies": (0.0, 0.7, 0.75),
    "eval_rewards/chosen": (0.0, 0.2, 0.3),
}


def training(counts: dict[str, float] | None = None, **curves: tuple[float, ...]) -> Training:
    curves = {**HEALTHY, **{name.replace("__", "/"): values for name, values in curves.items()}}
    rows = [
        {"run": run, "step": step, "metric": metric, "value": value}
        for run in (0, 1)
        for metric, values in curves.items()
        for step, value in enumerate(values)
    ]
    history = pl.DataFrame(rows, {"run": pl.Int32, "step": pl.Int64, "metric": pl.String, "value": pl.Float64})
    about = {"held_out_loss_first": 0.69, "held_out_loss_last": 0.5, **(counts or {})}
    return Training("dpo", "pairs", ("careful",), (0, 1), history, (about, about), 3.0)


def test_a_healthy_run_gives_no_worry() -> None:
    assert health(training()) == []


@pytest.mark.parametrize(
    ("curves", "said"),
    [
        ({"eval_loss": (0.7, float("nan"), 0.4)}, "no number"),
        ({"eval_rewards__chosen": (0.0, 0.1, -0.4)}, "likelihood displacement"),
        (
            {"eval_rewards__accuracies": (0.0, 0.5, 0.52), "rewards__accuracies": (0.5, 0.5, 0.55)},
            "as good as by chance",
        ),
        ({"rewards__accuracies": (1.0, 1.0, 1.0), "eval_rewards__accuracies": (0.0, 0.6, 0.62)}, "memorized"),
        ({"grad_norm": (1.0, 1.0, 500.0)}, "hundred times its median"),
    ],
)
def test_a_known_failure_is_named(curves: dict[str, tuple[float, ...]], said: str) -> None:
    [sentence] = health(training(**curves))
    assert said in sentence


def test_a_rising_loss_on_held_out_examples_is_named_with_its_numbers() -> None:
    [sentence] = health(training({"held_out_loss_last": 0.8}))
    assert "rose from 0.690 to 0.800" in sentence


def test_likelihoods_without_a_reference_begin_below_0() -> None:
    """ORPO's: only where they fall further is anything wrong."""
    assert health(training(eval_rewards__chosen=(-0.5, -0.4, -0.3))) == []
    [sentence] = health(training(eval_rewards__chosen=(-0.5, -0.4, -0.7)))
    assert "likelihood displacement" in sentence


def test_a_reward_that_does_not_go_up_is_named() -> None:
    assert health(training(reward=tuple(n / 40 for n in range(40)))) == []
    [sentence] = health(training(reward=(0.3,) * 20 + (0.25,) * 20))
    assert "from 0.300 to 0.250" in sentence
