"""Registers our classes with transformers at the moment transformers loads its own registries, and not before.

``import mmprm_hf`` must stay cheap and must not import torch, yet afterwards ``AutoModel.from_pretrained`` has to know
``mm_prm``. So each registration waits for the transformers module that holds the registry: at once if it is loaded
already, else right after it is (a finder on `sys.meta_path` that only watches these four names).

Standard library only at import.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Callable, Sequence
from types import ModuleType


def _register_config(module: ModuleType) -> None:
    from .models.configuration_mm_prm import MMPRMConfig

    module.AutoConfig.register(MMPRMConfig.model_type, MMPRMConfig, exist_ok=True)


def _register_model(module: ModuleType) -> None:
    from .models.configuration_mm_prm import MMPRMConfig
    from .models.modeling_mm_prm import MMPRMModel

    module.AutoModel.register(MMPRMConfig, MMPRMModel, exist_ok=True)


def _register_processor(module: ModuleType) -> None:
    from .models.configuration_mm_prm import MMPRMConfig
    from .models.processing_mm_prm import MMPRMProcessor

    module.AutoProcessor.register(MMPRMConfig, MMPRMProcessor, exist_ok=True)


def _register_pipeline(module: ModuleType) -> None:
    from .rerank.pipeline import register_pipeline

    register_pipeline(module.PIPELINE_REGISTRY)


_WATCHED: dict[str, Callable[[ModuleType], None]] = {
    "transformers.models.auto.configuration_auto": _register_config,
    "transformers.models.auto.modeling_auto": _register_model,
    "transformers.models.auto.processing_auto": _register_processor,
    "transformers.pipelines": _register_pipeline,
}


class _AfterImport(importlib.abc.MetaPathFinder):
    """Finds the watched modules as the other finders do, and registers once they have run."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        register = _WATCHED.get(fullname)
        if register is None:
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(fullname, path, target)
            if spec is not None and spec.loader is not None:
                run = spec.loader.exec_module

                def exec_module(module: ModuleType) -> None:
                    run(module)  # noqa: B023 - the loop ends with the first spec found
                    register(module)

                spec.loader.exec_module = exec_module
                return spec
        return None


def install() -> None:
    """Register now what transformers has loaded, and the rest when it loads it. Calling it again changes nothing."""
    for name, register in _WATCHED.items():
        if name in sys.modules:
            register(sys.modules[name])
    if not any(isinstance(finder, _AfterImport) for finder in sys.meta_path):
        sys.meta_path.insert(0, _AfterImport())
