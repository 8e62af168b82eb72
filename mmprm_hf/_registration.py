"""Makes transformers know our classes by name, so that ``import mmprm_hf`` need import neither torch nor transformers.

transformers' Auto mappings and pipeline tasks are tables of names that are resolved on first use. So our names are
added to a table right after the module that holds it has run. The public calls (`AutoModel.register`,
`PIPELINE_REGISTRY.register_pipeline`) take classes instead of names: ours would have to be imported at that moment,
while transformers is half loaded. Standard library only at import.
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

from . import models

_MODEL_TYPE = "mm_prm"
_TASK = "generate-and-rerank"
_SCORING_TASK = "process-reward"
_NANO = "nano"
_HUB_OPTIONS = ("revision", "token", "local_files_only", "trust_remote_code")


def _name_config(module: ModuleType) -> None:
    module.CONFIG_MAPPING_NAMES[_MODEL_TYPE] = "MMPRMConfig"
    # Where the Auto classes look for the classes of a model type; our room loads them lazily as well.
    sys.modules[f"transformers.models.{_MODEL_TYPE}"] = models


def _name_model(module: ModuleType) -> None:
    module.MODEL_MAPPING_NAMES[_MODEL_TYPE] = "MMPRMModel"
    # Filled when the mapping was made: our configuration is missing where transformers was imported before us.
    module.MODEL_MAPPING._reverse_config_mapping["MMPRMConfig"] = _MODEL_TYPE


def _name_processor(module: ModuleType) -> None:
    module.PROCESSOR_MAPPING_NAMES[_MODEL_TYPE] = "MMPRMProcessor"
    module.PROCESSOR_MAPPING._reverse_config_mapping["MMPRMConfig"] = _MODEL_TYPE


def _name_pipeline(module: ModuleType) -> None:
    module.SUPPORTED_TASKS[_TASK] = {
        "impl": "mmprm_hf.rerank.pipeline.GenerateAndRerankPipeline",
        "pt": (module.AutoModelForImageTextToText,),
        "type": "multimodal",
    }
    module.SUPPORTED_TASKS[_SCORING_TASK] = {
        "impl": "mmprm_hf.rerank.process_reward_pipeline.ProcessRewardPipeline",
        "pt": (module.AutoModel,),
        "type": "multimodal",
    }
    if not hasattr(module.pipeline, "__wrapped__"):
        module.pipeline = _with_our_task(module.pipeline)
        transformers = sys.modules.get("transformers")
        if transformers is not None and "pipeline" in vars(transformers):  # it was asked for before
            transformers.pipeline = module.pipeline


def _with_our_task(stock: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap `transformers.pipeline`: for our tasks a model is needed, which may be "nano" and is checked before weights
    are read; the policy may be a server's address, and a saved folder needs no remote code.
    """

    @functools.wraps(stock)
    def pipeline(task: Any = None, model: Any = None, *args: Any, **kwargs: Any) -> Any:
        if task in (_TASK, _SCORING_TASK) and model is None:
            models = "model=..., a policy, and prm=..." if task == _TASK else "model=..., a PRM"
            raise ValueError(
                f'pipeline("{task}") has no default model. Give {models}: paths, hub ids or loaded models.'
            )
        if task == _TASK:
            ours = importlib.import_module("mmprm_hf.rerank.pipeline")
            kwargs.setdefault("pipeline_class", ours.GenerateAndRerankPipeline)
            model = ours.policy_or_served(model, kwargs.pop("served_model", None), kwargs.pop("api_key", None))
        if task in (_TASK, _SCORING_TASK):
            model = _checked(task, model, kwargs)
        return stock(task, model, *args, **kwargs)

    return pipeline


def _checked(task: str, model: Any, options: dict[str, Any]) -> Any:
    """The model, and in the options the PRM, whose configurations were looked at before any weights are read."""
    check = importlib.import_module("mmprm_hf.rerank.inputs").checked_checkpoint
    if task == _TASK:
        if isinstance(model, str) and model == _NANO:
            options["prm"] = options.get("prm") or _NANO  # a folder brings the PRM that was saved with it
        if options.get("prm") is not None:
            options["prm"] = check(options["prm"], "PRM")
    if options.get("config") is not None:
        return model
    hub_options = {name: options[name] for name in _HUB_OPTIONS if name in options}
    return check(model, "policy" if task == _TASK else "PRM", **hub_options)


_AFTER_IMPORT: dict[str, Callable[[ModuleType], None]] = {
    "transformers.models.auto.configuration_auto": _name_config,
    "transformers.models.auto.modeling_auto": _name_model,
    "transformers.models.auto.processing_auto": _name_processor,
    "transformers.pipelines": _name_pipeline,
}


class _AfterImport(importlib.abc.MetaPathFinder):
    """Adds our names to a module once it has run. Python has no hook for that, so the finder extends its loader."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in _AFTER_IMPORT:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is None:
            return None
        run = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            run(module)
            _AFTER_IMPORT[fullname](module)

        spec.loader.exec_module = exec_module
        return spec


_FINDER = _AfterImport()


def install() -> None:
    """Add our names to what transformers has loaded, and watch for the rest. Calling it again changes nothing."""
    if _FINDER not in sys.meta_path:
        sys.meta_path.insert(0, _FINDER)
    for name, add_names in _AFTER_IMPORT.items():
        if name in sys.modules:
            add_names(sys.modules[name])
