"""Makes the model `datatrial` known to lm-eval, in every process that imports lm-eval's models.

Python imports this at its start (see `datatrial_in_lm_eval.pth` and docs/decisions/011-registered-in-lm-eval.md), so it
imports nothing but what is there, and does nothing before `lm_eval.models` is imported.
"""

import sys

TYPE_CHECKING = False  # that of `typing` takes milliseconds to import
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.abc import Loader
    from importlib.machinery import ModuleSpec
    from types import ModuleType

_WATCHED = "lm_eval.models"
_NAME, _TARGET = "datatrial", "datatrial.likelihood.harness:DatatrialLM"


class _Finder:
    """Lets the finders after it find `lm_eval.models`, and has it followed by our registration."""

    def find_spec(
        self, name: str, path: "Sequence[str] | None" = None, target: "ModuleType | None" = None
    ) -> "ModuleSpec | None":
        if name != _WATCHED:
            return None
        found = (finder.find_spec(name, path, target) for finder in sys.meta_path if finder is not self)
        spec = next((spec for spec in found if spec is not None), None)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)  # type: ignore[assignment]  # all that the import system asks of one
        return spec


class _Loader:
    """Runs a module as its own loader does, which it leaves in its place, and registers our model then."""

    def __init__(self, loader: "Loader"):
        self._loader = loader

    def create_module(self, spec: "ModuleSpec") -> "ModuleType | None":
        return self._loader.create_module(spec)

    def exec_module(self, module: "ModuleType") -> None:
        module.__loader__ = self._loader
        if module.__spec__:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        _register()


def _register() -> None:
    try:
        from lm_eval.api.registry import model_registry

        if _NAME not in model_registry:
            model_registry.register(_NAME, target=_TARGET)
    except Exception as error:  # lm-eval must stay usable, whatever a later version makes of its registry
        import warnings

        warnings.warn(f"lm-eval will not find the model {_NAME!r}: {error!r}", stacklevel=2)


sys.meta_path.insert(0, _Finder())
