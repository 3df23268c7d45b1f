"""How training went: curves of every stage and seed, and what was counted."""

from markupsafe import Markup

from datatrial.report._findings import Findings, Training
from datatrial.report._html import render
from datatrial.report.figures import curves
from datatrial.report.training_health import health
from datatrial.report.wording import count, duration, listed, number, settings_said

TITLE = "Training"
COLUMNS = (
    "examples",
    "held out",
    "cut short",
    "steps",
    "passes",
    "tokens",
    "loss",
    "held-out loss",
    "accuracy",
    "seconds",
)

LOSS = {"loss": "train", "eval_loss": "held-out"}
ACCURACIES = {f"{name}": "train" for name in ("rewards/accuracies", "accuracy")}
ACCURACIES |= {f"eval_{name}": "held-out" for name in ACCURACIES}
MARGINS = {f"{name}": "train" for name in ("rewards/margins", "margin")}
MARGINS |= {f"eval_{name}": "held-out" for name in MARGINS}
REWARDS = {"reward": "train", "eval_reward": "held-out"}  # of the answers that a policy writes while it is trained
CURVES = (("loss", LOSS), ("accuracy", ACCURACIES), ("margin", MARGINS), ("reward", REWARDS))


def body(findings: Findings) -> Markup:
    if not findings.trainings:
        return Markup()
    figures = [
        (training, what, figure)
        for what, metrics in CURVES
        for training in findings.trainings
        if (figure := curves(training, metrics, f"{training.title} ({listed(training.arms)}): {what}"))
    ]
    rows = [(training, _cells(training)) for training in findings.trainings]
    picks = [(training, said) for training in findings.trainings if (said := _picked(training))]
    worries = [(training, found) for training in findings.trainings if (found := health(training))]
    return render("training.html", figures=figures, columns=COLUMNS, rows=rows, worries=worries, picks=picks)


def _picked(training: Training) -> str:
    """What settings were picked by held-out loss, and from which."""
    told = training.picked
    if not told:
        return ""
    tried = zip(told["candidates"], told["held_out_losses"], strict=True)
    found = (f"{settings_said(one)}: {'diverged' if loss is None else f'{loss:.4f}'}" for one, loss in tried)
    return f"{settings_said(told['settings'])} (held-out losses with the first seed: {'; '.join(found)})"


def _cells(training: Training) -> list[str]:
    counts = [_count(training, name) for name in ("examples", "held_out", "truncated", "steps")]
    seen = [_passes(training), _count(training, "tokens_seen")]
    losses = [_change(training, f"{name}_first", f"{name}_last") for name in ("loss", "held_out_loss")]
    return [*counts, *seen, *losses, _accuracy(training), duration(training.seconds / max(1, len(training.seeds)))]


def _passes(training: Training) -> str:
    passes = training.mean("passes")
    return "–" if passes is None else f"{passes:.2f}"


def _accuracy(training: Training) -> str:
    """Of a reward model: how often the chosen answer of a held-out comparison gets more reward, in points."""
    accuracy = training.mean("held_out_accuracy")
    return "–" if accuracy is None else number(accuracy, 100)


def _count(training: Training, name: str) -> str:
    value = training.mean(name)
    return "–" if value is None else count(value)


def _change(training: Training, first: str, last: str) -> str:
    before, after = training.mean(first), training.mean(last)
    return "–" if before is None or after is None else f"{before:.3f} → {after:.3f}"
