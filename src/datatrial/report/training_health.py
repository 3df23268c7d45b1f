"""Signs that a training stage went wrong in one of the ways that are known, from its curves; each in one sentence."""

import math
from collections.abc import Callable, Iterator

from datatrial.report._findings import Training
from datatrial.report.wording import number

BY_CHANCE = 0.55  # accuracy on held-out comparisons up to which nothing was learned of them
GAP = 0.2  # accuracy on the last training comparisons over that on held-out ones from which on they were memorized
LAST = 10  # logged steps that the end of a training curve is averaged over


def health(training: Training) -> list[str]:
    """What there is to worry about in a stage, mean over its seeds; nothing where all went as it should."""
    return [said for look in LOOKS for said in look(training)]


def _diverged(training: Training) -> Iterator[str]:
    # A stage whose loss on training examples becomes no number ends there, and has no curves.
    losses = training.history.filter(training.history["metric"] == "eval_loss")["value"]
    if not losses.is_finite().all():
        yield "The loss on held-out examples became no number: look at the learning rate and the precision."


def _not_rewarded(training: Training) -> Iterator[str]:
    if training.history.filter(training.history["metric"] == "reward")["step"].n_unique() < 2 * LAST:
        return  # its start and its end would be the same steps
    first, last = training.start("reward", LAST), training.end("reward", LAST)
    if first is not None and last is not None and last <= first:
        moved = f"The mean reward of the answers went from {first:.3f} to {last:.3f}"
        yield f"{moved}: nothing was learned; look at the learning rate, and at how rewards differ between answers."


def _overfitted(training: Training) -> Iterator[str]:
    first, last = training.mean("held_out_loss_first"), training.mean("held_out_loss_last")
    if first is not None and last is not None and last > first:
        rose = f"The loss on held-out examples rose from {first:.3f} to {last:.3f}"
        yield f"{rose}: fewer epochs, or a lower learning rate."


def _chosen_fell(training: Training) -> Iterator[str]:
    """Pal et al. 2024 (arXiv 2402.13228), Razin et al. 2024 (arXiv 2410.08847): likelihood displacement."""
    before, chosen = training.start("eval_rewards/chosen"), training.end("eval_rewards/chosen")
    # Relative to a reference, it starts at 0 but for rounding.
    if before is not None and chosen is not None and chosen < min(before, 0.0):
        yield (
            "The chosen answers became less likely than they were before training (likelihood displacement): the "
            "model moved away from the rejected ones by moving away from both. More SFT first, a larger beta, or "
            "cleaner pairs."
        )


def _not_learned(training: Training) -> Iterator[str]:
    accuracy = training.end("eval_rewards/accuracies")
    if accuracy is not None and accuracy <= BY_CHANCE:
        told = f"Of held-out comparisons {number(accuracy, 100)}% are told right"
        yield f"{told}, as good as by chance: the labels may be noise."


def _memorized(training: Training) -> Iterator[str]:
    seen, unseen = training.end("rewards/accuracies", LAST), training.end("eval_rewards/accuracies")
    if seen is not None and unseen is not None and seen - unseen > GAP:
        told = f"{number(seen, 100)}% of training comparisons are told right"
        yield f"{told}, of held-out ones {number(unseen, 100)}%: memorized."


def _at_the_end(training: Training) -> Iterator[str]:
    for name, value in training.picked.get("settings", {}).items():
        tried = [one[name] for one in training.picked["candidates"]]
        if len({*tried}) > 2 and value in (min(tried), max(tried)):  # of two, one is at an end always
            which = "lowest" if value == min(tried) else "highest"
            yield f"Of what was tried, the {which} {name} was best: try others beyond it."


def _exploded(training: Training) -> Iterator[str]:
    norms = training.history.filter(training.history["metric"] == "grad_norm")["value"].to_list()
    if _spikes(norms):
        yield "The gradient's norm jumped to over a hundred times its median: look at the learning rate."


def _spikes(norms: list[float]) -> bool:
    known = sorted(norm for norm in norms if math.isfinite(norm))
    return bool(known) and known[-1] > 100 * known[len(known) // 2] > 0


LOOKS: tuple[Callable[[Training], Iterator[str]], ...] = (
    _diverged,
    _not_rewarded,
    _overfitted,
    _chosen_fell,
    _not_learned,
    _memorized,
    _at_the_end,
    _exploded,
)
