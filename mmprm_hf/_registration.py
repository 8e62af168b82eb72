"""Registers our classes with transformers at the moment transformers loads its own registries, and not before.

``import mmprm_hf`` must stay cheap and must not import torch, yet afterwards ``AutoModel.from_pretrained`` has to know
``mm_prm``. So every registration waits for the transformers module that holds the registry: a finder on
`sys.meta_path` notices when it has been loaded, and then loads our side. Our modules are watched too, because they
import transformers themselves: what is still being imported registers when it is done.

Standard library only at import.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import sys
from collections.abc import Callable, Sequence
from types import ModuleType


def _register_config(theirs: ModuleType, ours: ModuleType) -> None:
    theirs.AutoConfig.register(ours.MMPRMConfig.model_type, ours.MMPRMConfig, exist_ok=True)


def _register_model(theirs: ModuleType, ours: ModuleType) -> None:
    theirs.AutoModel.register(ours.MMPRMConfig, ours.MMPRMModel, exist_ok=True)


def _register_processor(theirs: ModuleType, ours: ModuleType) -> None:
    theirs.AutoProcessor.register(ours.MMPRMConfig, ours.MMPRMProcessor, exist_ok=True)


def _register_pipeline(theirs: ModuleType, ours: ModuleType) -> None:
    ours.register_pipeline(theirs.PIPELINE_REGISTRY)


# (module of transformers, module of ours, what to do once both are loaded)
_REGISTRATIONS: tuple[tuple[str, str, Callable[[ModuleType, ModuleType], None]], ...] = (
    ("transformers.models.auto.configuration_auto", "mmprm_hf.models.configuration_mm_prm", _register_config),
    ("transformers.models.auto.modeling_auto", "mmprm_hf.models.modeling_mm_prm", _register_model),
    ("transformers.models.auto.processing_auto", "mmprm_hf.models.processing_mm_prm", _register_processor),
    ("transformers.pipelines", "mmprm_hf.rerank.pipeline", _register_pipeline),
)
_WATCHED = {name for theirs, ours, _ in _REGISTRATIONS for name in (theirs, ours)}
_loaded: set[str] = set()  # watched modules whose code has run to its end


def _after_load(name: str) -> None:
    """Run the registrations that `name` was missing for; loading one of theirs loads our side."""
    _loaded.add(name)
    for theirs, ours, register in _REGISTRATIONS:
        if name == theirs and ours not in sys.modules:
            importlib.import_module(ours)  # ends in this function, with name == ours
        elif name in (theirs, ours) and {theirs, ours} <= _loaded:
            register(sys.modules[theirs], sys.modules[ours])


class _Watcher(importlib.abc.MetaPathFinder):
    """Finds the watched modules as the other finders do, and reports when their code has run."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in _WATCHED:
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(fullname, path, target)
            if spec is not None and spec.loader is not None:
                run = spec.loader.exec_module

                def exec_module(module: ModuleType, run: Callable[[ModuleType], None] = run) -> None:
                    run(module)
                    _after_load(fullname)

                spec.loader.exec_module = exec_module
                return spec
        return None


def install() -> None:
    """Register with what transformers has loaded already, and watch for the rest. Calling it again changes nothing."""
    if not any(isinstance(finder, _Watcher) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Watcher())
    for theirs, _, _ in _REGISTRATIONS:
        if theirs in sys.modules and theirs not in _loaded:
            _after_load(theirs)
