"""The arms that a page has room for, where a study has hundreds: the tables beside it have them all."""

from dataclasses import replace

from datatrial.report._findings import Findings

MOST_ARMS = 60


def shown(findings: Findings) -> Findings:
    """The findings on the arms that are shown: all, or the baseline and those whose differences are the surest."""
    analysis, settings = findings.analysis, findings.settings
    if len(analysis.arms) <= MOST_ARMS:
        return findings
    arms = set(analysis.surest(MOST_ARMS))
    left_out = set(analysis.arms) - arms
    chains = {arm: chain for arm, chain in findings.chains.items() if arm in arms}
    trained_on = {name for chain in findings.chains.values() for name, _ in chain}
    theirs = {name for chain in chains.values() for name, _ in chain}
    parts = {
        name: tuple(part for part in getattr(settings, name) if part.arm not in left_out)
        for name in ("runs", "stages", "drifts")
    }
    parts |= {
        name: tuple(one for one in getattr(settings, name) if one.name not in left_out) for name in ("arms", "variants")
    }
    return replace(
        findings,
        settings=settings.model_copy(update=parts),
        analysis=analysis.of_arms(arms),
        trainings=[training for training in findings.trainings if set(training.arms) - left_out],
        data=[data for data in findings.data if data.name in theirs or data.name not in trained_on],
        chains=chains,
        results={title: [one for one in runs if one[0].arm in arms] for title, runs in findings.results.items()},
        contaminated={arm: items for arm, items in findings.contaminated.items() if arm in arms},
        drift={arm: value for arm, value in findings.drift.items() if arm in arms},
    )


def left_out(findings: Findings) -> str:
    """What a reader must know of the choice; empty where there was none."""
    arms = len(findings.analysis.arms)
    if arms <= MOST_ARMS:
        return ""
    return (
        f"This page has room for {MOST_ARMS} of {arms:,} arms: {findings.analysis.baseline} and those whose "
        "differences are the surest, by adjusted p. Chosen by that, they look more different than they are. All arms "
        "are in the tables beside this page; p-values are adjusted for all of them."
    )
