"""Makes transformers know our classes by name, so that ``import mmprm_hf`` need import neither torch nor transformers.

transformers' Auto mappings and pipeline tasks are tables of names, resolved on first use: a model type's classes are
looked up in ``transformers.models.<model_type>``. So our names are added to each table right after the module that
holds it has run (strings only: nothing of ours is imported while transformers is half loaded), and the import of
``transformers.models.mm_prm`` is answered with our models.

Standard library only at import.
"""

from __future__ import annotations

import functools
import importlib
import importlib.abc
import importlib.machinery
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

_MODEL_TYPE = "mm_prm"
_ALIAS = f"transformers.models.{_MODEL_TYPE}"
_TASK = "generate-and-rerank"
_PIPELINE_MODULE = "mmprm_hf.rerank.pipeline"
_SERVED_MODULE = "mmprm_hf.rerank.served_policy"


def _name_config(module: ModuleType) -> None:
    module.CONFIG_MAPPING_NAMES[_MODEL_TYPE] = "MMPRMConfig"


def _name_model(module: ModuleType) -> None:
    module.MODEL_MAPPING_NAMES[_MODEL_TYPE] = "MMPRMModel"
    module.MODEL_MAPPING._reverse_config_mapping["MMPRMConfig"] = _MODEL_TYPE


def _name_processor(module: ModuleType) -> None:
    module.PROCESSOR_MAPPING_NAMES[_MODEL_TYPE] = "MMPRMProcessor"
    module.PROCESSOR_MAPPING._reverse_config_mapping["MMPRMConfig"] = _MODEL_TYPE


def _name_pipeline(module: ModuleType) -> None:
    module.SUPPORTED_TASKS[_TASK] = {
        "impl": f"{_PIPELINE_MODULE}.GenerateAndRerankPipeline",
        "pt": (module.AutoModelForImageTextToText,),
        "type": "multimodal",
    }
    if not hasattr(module.pipeline, "__wrapped__"):
        module.pipeline = _with_our_task(module.pipeline)
        transformers = sys.modules.get("transformers")
        if transformers is not None and "pipeline" in vars(transformers):  # it was asked for before
            transformers.pipeline = module.pipeline


def _with_our_task(stock: Callable[..., Any]) -> Callable[..., Any]:
    """`transformers.pipeline`, but for our task: a policy may be the address of a server, which the stock function
    takes for a hub id, and a saved folder, which names the class for those without the package, needs no remote code.
    """

    @functools.wraps(stock)
    def pipeline(task: Any = None, model: Any = None, *args: Any, **kwargs: Any) -> Any:
        if task == _TASK:
            kwargs.setdefault("pipeline_class", importlib.import_module(_PIPELINE_MODULE).GenerateAndRerankPipeline)
            served = importlib.import_module(_SERVED_MODULE)
            names = {"served_model": "model", "api_key": "api_key"}
            if not served.is_url(model) and any(kwargs.get(name) is not None for name in names):
                raise ValueError(served.NO_SERVER)  # before the stock function fetches the policy
            if served.is_url(model):
                given = {ours: kwargs.pop(name) for name, ours in names.items() if name in kwargs}
                model = served.ServedPolicy(model, **given)
        return stock(task, model, *args, **kwargs)

    return pipeline


_WATCHED: dict[str, Callable[[ModuleType], None]] = {
    "transformers.models.auto.configuration_auto": _name_config,
    "transformers.models.auto.modeling_auto": _name_model,
    "transformers.models.auto.processing_auto": _name_processor,
    "transformers.pipelines": _name_pipeline,
}


class _AliasLoader(importlib.abc.Loader):
    """Loads ``transformers.models.mm_prm``: a module whose names are those of `mmprm_hf.models`."""

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        module.__getattr__ = lambda name: getattr(importlib.import_module("mmprm_hf.models"), name)


class _Finder(importlib.abc.MetaPathFinder):
    """Answers for the alias, and adds our names to the watched modules once they have run."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname == _ALIAS:
            return importlib.machinery.ModuleSpec(fullname, _AliasLoader())
        if fullname not in _WATCHED:
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(fullname, path, target)
            if spec is not None and spec.loader is not None:
                run = spec.loader.exec_module

                def exec_module(module: ModuleType, run: Callable[[ModuleType], None] = run) -> None:
                    run(module)
                    _WATCHED[fullname](module)

                spec.loader.exec_module = exec_module
                return spec
        return None


def install() -> None:
    """Add our names to what transformers has loaded, and watch for the rest. Calling it again changes nothing."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
    for name, add_names in _WATCHED.items():
        if name in sys.modules:
            add_names(sys.modules[name])
