"""Scores in lm-eval's own files, beside what lm-eval itself writes of the same model and task."""

import json
from pathlib import Path
from typing import Any

import pytest

from datatrial.export._finished import Finished
from datatrial.export._samples import MASK, Asked, samples_of
from datatrial.export.lm_eval import _Scores, names_of
from datatrial.records import ModelRef, read_json

HASHES = ("doc_hash", "prompt_hash", "target_hash")
ROW = {
    "item": "winery:3",
    "question": "went home.",
    "choices": ["The fox", "The hound"],
    "log_likelihoods": [-1.5, -2.0],
    "greedy": [True, False],
    "response": None,
    "target": "went home.",
}
SHOWN = {"num_fewshot": 0, "fewshot": None, "chat_template": False, "description": ""}


def asked(row: dict[str, Any], **changes: Any) -> Asked:
    score = {"item": row["item"], "metric": "acc", "value": 1.0}
    return Asked(
        **{
            "name": "t",
            "items": [row],
            "scores": [score],
            "metric": "acc",
            "config": {},
            "shown": SHOWN,
            "documents": None,
            **changes,
        }
    )


def run_of(folder: Path, task: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    [results], [samples] = folder.glob("results_*.json"), folder.glob(f"samples_{task}_*.jsonl")
    assert results.stem.removeprefix("results_") == samples.stem.removeprefix(f"samples_{task}_")
    lines = samples.read_text(encoding="utf-8").splitlines()
    return read_json(results), [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def theirs(finished: Finished) -> dict[str, Any]:
    """What lm-eval makes of the base model on the task that lies beside its scores."""
    import os

    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    run = next(run for run, _ in finished.runs if run.arm == "base")
    task = finished.store.path(run.scores["science"]) / "task"
    here = Path.cwd()
    os.chdir(task)
    try:
        found: dict[str, Any] = simple_evaluate(
            model="hf",
            model_args={"pretrained": ModelRef.read(finished.store.path(run.policy)).weights, "dtype": "float32"},
            tasks=["questions"],
            task_manager=TaskManager(include_path=str(task), include_defaults=False),
            device="cpu",
            bootstrap_iters=100,
        )
    finally:
        os.chdir(here)
    return found


@pytest.mark.slow
def test_samples_are_those_that_lm_eval_logs(exported: Path, theirs: dict[str, Any]) -> None:
    _, ours = run_of(exported / "lm_eval" / "base", "science")
    expected = theirs["samples"]["questions"]
    assert len(ours) == len(expected) == 20
    for one, other in zip(ours, expected, strict=True):
        same = ("doc_id", "doc", "filter", "metrics", "acc", "acc_norm", *HASHES)
        assert {key: one[key] for key in same} == {key: other[key] for key in same}
        assert [tuple(request.values()) for request in one["arguments"].values()] == other["arguments"]
        for [likelihood, greedy], (value, likeliest) in zip(
            one["filtered_resps"], other["filtered_resps"], strict=True
        ):
            assert float(likelihood) == pytest.approx(value, abs=1e-4)
            assert greedy == str(likeliest)
        assert one["resps"] == [[answer] for answer in one["filtered_resps"]]


@pytest.mark.slow
def test_results_are_those_of_lm_eval(exported: Path, theirs: dict[str, Any]) -> None:
    results, _ = run_of(exported / "lm_eval" / "base", "science")
    for key in ("acc,none", "acc_stderr,none", "acc_norm,none", "acc_norm_stderr,none"):
        assert results["results"]["science"][key] == pytest.approx(theirs["results"]["questions"][key])
    assert results["higher_is_better"]["science"] == theirs["higher_is_better"]["questions"]
    assert results["versions"]["science"] == theirs["versions"]["questions"]
    assert results["n-samples"]["science"] == theirs["n-samples"]["questions"]
    assert results["configs"]["science"]["output_type"] == "multiple_choice"
    assert (results["n-shot"]["science"], results["n-shot"]["stories"]) == (0, 2)


@pytest.mark.slow
def test_every_run_has_a_folder_and_every_data_set_a_task(exported: Path) -> None:
    folders = {path.name for path in (exported / "lm_eval").iterdir()}
    assert folders == {"base", "careful-seed-0", "careful+pairs-seed-0"}
    for folder in folders:
        results, _ = run_of(exported / "lm_eval" / folder, "stories")
        assert set(results["results"]) == {"science", "stories"}
        assert results["model_name"] == folder


@pytest.mark.slow
def test_prompts_that_are_not_kept_whole_are_said_to_be_so(exported: Path) -> None:
    results, samples = run_of(exported / "lm_eval" / "base", "stories")
    tasks = {t: found["tasks"][t]["prompts"] for t, found in results["datatrial"]["benchmarks"].items()}
    assert tasks == {"science": "whole", "stories": "question"}
    assert samples[0]["arguments"]["gen_args_0"]["arg_0"].startswith("Question:")


@pytest.mark.slow
def test_a_redacted_export_has_no_text_of_an_item(redacted: Path, exported: Path) -> None:
    def texts(folder: Path) -> str:
        files = (path for path in folder.rglob("*") if path.is_file() and "adapters" not in path.parts)
        return "\n".join(path.read_text(encoding="utf-8", errors="replace") for path in files)

    _, whole = run_of(exported / "lm_eval" / "base", "science")
    _, bare = run_of(redacted / "lm_eval" / "base", "science")
    shown = texts(redacted)
    for sample, other in zip(whole, bare, strict=True):
        assert sample["doc"]["question"] not in shown
        assert {key: sample[key] for key in (*HASHES, "acc", "filtered_resps")} == {
            key: other[key] for key in (*HASHES, "acc", "filtered_resps")
        }
        lengths = [len(request["arg_1"]) for request in sample["arguments"].values()]
        assert [len(request["arg_1"]) for request in other["arguments"].values()] == lengths
        assert other["doc"] == {}
    assert read_json(redacted / "findings.json")["redacted"] is True


def test_choices_before_a_common_ending_are_the_prompts() -> None:
    [sample] = samples_of(asked(ROW), redact=False)
    assert sample["arguments"]["gen_args_1"] == {"arg_0": "The hound", "arg_1": " went home."}


def test_a_written_answer_is_logged_and_left_out_when_redacted() -> None:
    row = {**ROW, "choices": [], "log_likelihoods": [], "greedy": [], "response": "It is 18.", "target": "18"}
    [sample], [bare] = (samples_of(asked(row), redact) for redact in (False, True))
    assert (sample["resps"], sample["target"]) == ([["It is 18."]], "18")
    assert (bare["resps"], bare["target"], bare["doc"]) == ([[""]], "", {})
    assert set(bare["arguments"]["gen_args_0"]["arg_0"]) == {MASK}


def test_what_is_shown_before_a_question_is_in_its_hash() -> None:
    shots = [{**SHOWN, "num_fewshot": n} for n in (0, 2, 5)]
    hashes = {samples_of(asked(ROW, shown=shown), redact=False)[0]["prompt_hash"] for shown in shots}
    assert len(hashes) == 3


def test_tasks_of_a_group_are_one_benchmark_with_the_mean_of_its_items() -> None:
    tasks = tuple(asked({**ROW, "item": f"{name}:0", "task": name}, name=name) for name in ("hens", "geese"))
    summary = {
        "metric": "acc",
        "metrics": {"acc": 0.75},
        "higher_is_better": True,
        "tasks": {"hens": {"acc": 1.0}, "geese": {"acc": 0.5}, "birds": {"acc": 0.75}},
    }
    found = _Scores("birds", summary, tasks, {name: {} for name in ("hens", "geese")}).results()
    assert found["group_subtasks"] == {"birds": ["hens", "geese"]}
    assert {name: of["acc,none"] for name, of in found["results"].items()} == {"hens": 1.0, "geese": 0.5, "birds": 0.75}
    assert set(found["n-samples"]) == {"hens", "geese"}


def test_two_benchmarks_never_share_the_name_of_a_task() -> None:
    names = names_of(
        {"mine": ["questions"], "other": ["questions"], "birds": ["hens", "mine"], "more": ["hens", "owls"]}
    )
    assert names["mine"] == {"questions": "mine"}
    assert names["birds"] == {"hens": "birds_hens", "mine": "birds_mine"}
    assert names["more"] == {"hens": "more_hens", "owls": "owls"}


def test_each_filter_has_its_samples_and_metrics() -> None:
    scores = [
        {"item": ROW["item"], "metric": "exact_match,strict", "value": 0.0},
        {"item": ROW["item"], "metric": "exact_match,flexible", "value": 1.0},
    ]
    strict, flexible = samples_of(asked(ROW, scores=scores, metric="exact_match,strict"), redact=False)
    assert (strict["filter"], strict["exact_match"], flexible["filter"], flexible["exact_match"]) == (
        "strict", 0.0, "flexible", 1.0
    )  # fmt: skip
    assert flexible["filtered_resps"] == []
