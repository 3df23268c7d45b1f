"""lm-eval knows the model by name: in processes of their own, for registries belong to a process."""

import json
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import pytest
from lm_eval import simple_evaluate
from lm_eval.tasks import TaskManager

from tests.evaluation.conftest import make_policy

SRC = Path(__file__).parents[2] / "src"
# What Python does with the files of an installation when it starts.
START = f"import site; site.addsitedir({str(SRC)!r})\n"
REGISTERED = "from lm_eval.api.registry import model_registry as known\nprint([n for n in known if n == 'datatrial'])\n"


def python(code: str, start: str = START, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
    # -S: without what this environment's own start-up files do.
    path = [entry for entry in sys.path if entry and entry != str(SRC)]
    code = f"import sys\n{start}sys.path += {path!r}\n{code}"
    return subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, cwd=cwd)


def said(code: str, start: str = START) -> list[str]:
    done = python(code, start=start)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout.splitlines()


def test_at_the_start_nothing_is_imported() -> None:
    code = "print(sorted({'datatrial', 'lm_eval', 'typing', 'importlib.util'} & set(sys.modules)))"
    before = "import sys; had = set(sys.modules)\n"
    assert said(code.replace("set(sys.modules)", "(set(sys.modules) - had)"), before + START) == ["[]"]


def test_lm_evals_models_bring_ours_without_loading_it() -> None:
    loaders = "import lm_eval.models as m\nprint(type(m.__loader__).__name__, type(m.__spec__.loader).__name__)\n"
    loaded = "print('datatrial' in sys.modules, len(known) > 30)\n"
    found = said(loaders + REGISTERED + loaded)
    assert found == ["SourceFileLoader SourceFileLoader", "['datatrial']", "False True"]


def test_looking_for_lm_evals_models_does_not_use_the_registration_up() -> None:
    assert said("import importlib.util as u; u.find_spec('lm_eval.models'); import lm_eval.models\n" + REGISTERED) == [
        "['datatrial']"
    ]


@pytest.mark.slow  # two processes that import transformers
def test_it_is_registered_once_whatever_comes_first() -> None:
    ours, get = "import datatrial.likelihood.harness\n", "print(known['datatrial'].__name__)\n"
    again = "import importlib, lm_eval.models; importlib.reload(lm_eval.models)\n"
    assert said("import lm_eval.models\n" + REGISTERED + ours + again + REGISTERED + get)[1:] == [
        "['datatrial']",
        "DatatrialLM",
    ]
    alone = f"sys.path.append({str(SRC)!r})\n" + ours + REGISTERED + get
    assert said(alone, start="") == ["['datatrial']", "DatatrialLM"]


def test_what_is_left_of_an_installation_does_no_harm(tmp_path: Path) -> None:
    line = (SRC / "datatrial_in_lm_eval.pth").read_text()
    (tmp_path / "left.pth").write_text(line.replace("datatrial_in_lm_eval", "deleted_by_hand"))
    start = f"import site; site.addsitedir({str(tmp_path)!r})\n"
    assert said("import lm_eval.models\n" + REGISTERED, start) == ["[]"]


def test_another_registry_is_survived(tmp_path: Path) -> None:
    (tmp_path / "lm_eval" / "models").mkdir(parents=True)
    for package in ("lm_eval", "lm_eval/models"):
        (tmp_path / package / "__init__.py").touch()
    done = python("import lm_eval.models; print('used')", f"sys.path.insert(0, {str(tmp_path)!r})\n" + START)
    assert done.stdout == "used\n"
    assert "lm-eval will not find the model 'datatrial'" in done.stderr


def test_an_installation_has_what_registers() -> None:
    installed = distribution("datatrial")
    names = {str(file) for file in installed.files or []}
    assert {"datatrial_in_lm_eval.pth", "datatrial_in_lm_eval.py"} <= names
    [entry] = installed.entry_points.select(group="lm_eval.models")
    assert entry.value == "datatrial.likelihood.harness:DatatrialLM"


@pytest.mark.slow
def test_the_lm_eval_command_gives_the_results_of_hf(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = make_policy(tmp_path / "policy") / "weights"
    asked = f"run --model datatrial --model_args pretrained={weights} --device cpu --tasks world,says --output_path out"
    command = "import runpy; runpy.run_module('lm_eval', run_name='__main__', alter_sys=True)"
    done = python(f"sys.argv[1:] = {[*asked.split(), '--include_path', str(world)]!r}\n{command}", cwd=world)
    assert done.returncode == 0, done.stderr
    ours = json.loads(next((world / "out").rglob("results_*.json")).read_text())
    assert ours["config"]["model"] == "datatrial"

    monkeypatch.chdir(world)  # where its tasks look for their data
    tasks = TaskManager(include_path=str(world), include_defaults=False)
    arguments = {"pretrained": str(weights), "device": "cpu"}
    theirs = simple_evaluate("hf", arguments, tasks=["world", "says"], task_manager=tasks, log_samples=False)
    assert theirs
    assert set(ours["results"]) == set(theirs["results"]) == {"world", "river", "hill", "says"}
    for task, metrics in theirs["results"].items():
        numbers = {metric: value for metric, value in metrics.items() if "," in metric}
        assert {metric: ours["results"][task][metric] for metric in numbers} == pytest.approx(numbers, abs=1e-6)
