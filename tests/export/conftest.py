"""A tiny study with all its results, for tests that export it."""

from pathlib import Path

import pytest

from datatrial.engine.store import Store
from datatrial.export._finished import Finished
from datatrial.export.folder import export
from datatrial.planner import plan_of, resolver_of
from datatrial.records import Runtime
from datatrial.results import Results
from datatrial.study import Study

STUDY = """\
name: tiny
model: {kind: from_scratch, corpus: [corpus], hidden_size: 32, intermediate_size: 64, layers: 1, heads: 2}
max_length: 128
lora: {r: 4}
training: {sft: {learning_rate: 1e-3}, dpo: {learning_rate: 1e-3}}
data:
  corpus: {source: {kind: micro_world, part: corpus, n: 300}}
  careful: {source: {kind: micro_world, part: careful_demonstrations, n: 40}, curation: [{kind: sample, n: 30}]}
  pairs: {source: {kind: micro_world, part: careful_comparisons, n: 40}}
  science: {source: {kind: micro_world, part: science, n: 20}}
  stories: {source: {kind: micro_world, part: stories, n: 20}}
  opinions: {source: {kind: micro_world, part: opinions}}
audits: []
arms:
  base: []
  careful: [{sft: careful}]
  careful+pairs: [{sft: careful}, {dpo: pairs}]
benchmarks:
  - {kind: lm_eval, data: science}
  - {kind: lm_eval, data: stories, num_fewshot: 2}
  - {kind: group_safety, data: opinions, name: safety}
contrasts:
  - {claim: Pairs help | a <lot>, arm: careful+pairs, against: careful, on: [science, safety], expect: better}
"""


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return made(tmp_path_factory.mktemp("study"), STUDY)


def made(folder: Path, text: str) -> Results:
    """A study's results, each step done in this process."""
    (folder / "tiny.yaml").write_text(text)
    study, store = Study.load(folder / "tiny.yaml"), Store(folder / "store")
    store.open()
    plan = plan_of(study, resolver_of(study, store))
    summary = plan.summary({})
    assert summary is not None
    for step in [*plan.steps, summary.inputs["contrasts"], summary]:
        store.build(store.work(step), Runtime(cache=store.root / "cache"))
    return Results(plan, store, summary)


@pytest.fixture(scope="session")
def finished(results: Results) -> Finished:
    return Finished(results)


@pytest.fixture(scope="session")
def exported(results: Results, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an export: for tests that only read."""
    out = tmp_path_factory.mktemp("export")
    export(results, out)
    return out


@pytest.fixture(scope="session")
def redacted(results: Results, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("redacted")
    summary = results.plan.summary({}, redact=True)
    assert summary is not None
    results.store.build(results.store.work(summary), Runtime())
    export(Results(results.plan, results.store, summary), out)
    return out
