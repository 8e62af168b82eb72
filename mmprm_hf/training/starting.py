"""What a training starts from: the PRM and its processor, made from whatever the user gives, and its adapter."""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import extract_model_from_parallel
from torch import nn
from transformers import AutoConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.dynamic_module_utils import custom_object_save

from ..errors import loading
from ..files import read_json, write_json
from ..models import MMPRMConfig, MMPRMModel, MMPRMProcessor, prepare_marker_row, register
from .prm_config import PRMConfig


def trainable_prm(
    model: Any, processing_class: Any, args: PRMConfig, peft_config: Any = None
) -> tuple[PreTrainedModel, MMPRMProcessor]:
    """Return the PRM as it is trained (dtype, dropout, frozen tower, kernels, adapter), and its processor.

    Arguments are those of `PRMTrainer`.

    Raises:
        ValueError: for a model object without its processor, or one that neither is nor can become a PRM.
    """
    # Steps of 1e-6 are rounded away in bfloat16 weights: a model that is trained in full is trained in float32.
    dtype = args.model_dtype or ("float32" if peft_config is None else "auto")
    if isinstance(model, (str, os.PathLike)):
        model, processor = _from_path(model, processing_class, args, dtype)
    else:
        model, processor = _from_object(model, processing_class, args)
    if peft_config is None and args.model_dtype is None and not getattr(model, "is_quantized", False):
        model = model.float()
    if args.disable_dropout:
        set_dropout_to_zero(model)
    if args.freeze_vision and isinstance(model, MMPRMModel):
        model.freeze_vision()
    if args.use_liger_kernel:
        _apply_liger(model)
        args.use_liger_kernel = False  # the stock trainer knows no kernels for a PRM
    if peft_config is not None:
        model = with_adapter(model, peft_config, in_float32=args.bf16 or args.fp16)
        if args.freeze_vision:
            inner_prm(model).freeze_vision()  # the adapter may have reached into the tower
    return model, processor


def inner_prm(model: nn.Module) -> MMPRMModel:
    """Return the PRM inside whatever wraps it: compilation, DDP, an adapter (whose weights stay in effect).

    Raises:
        ValueError: if there is no PRM inside.
    """
    inner = extract_model_from_parallel(model, keep_torch_compile=False)
    inner = inner.get_base_model() if hasattr(inner, "get_base_model") else inner
    if not isinstance(inner, MMPRMModel):
        raise ValueError(f"Found a {type(model).__name__}. Give an MMPRMModel, which may be wrapped.")
    return inner


def _from_path(
    path: str | os.PathLike, processing_class: Any, args: PRMConfig, dtype: str
) -> tuple[MMPRMModel, MMPRMProcessor]:
    if (Path(path) / "adapter_config.json").exists():
        raise ValueError(
            f"{str(path)!r} is an adapter. Merge it first, and give the merged model: `mmprm convert {path} -o "
            f"{path}-merged`, in Python mmprm_hf.training.merge_adapter({str(path)!r}, '{path}-merged')."
        )
    register()
    is_prm_processor = isinstance(processing_class, MMPRMProcessor)
    with loading("policy or PRM", path):
        if AutoConfig.from_pretrained(path).model_type == MMPRMConfig.model_type:
            processor = processing_class if is_prm_processor else MMPRMProcessor.from_pretrained(path)
            return MMPRMModel.from_pretrained(path, dtype=dtype), processor
        processor = processing_class if is_prm_processor else _policy_processor(processing_class or path, args)
        return MMPRMModel.from_policy(path, processor, dtype=dtype), processor


def _from_object(model: Any, processing_class: Any, args: PRMConfig) -> tuple[PreTrainedModel, MMPRMProcessor]:
    inner = model.get_base_model() if hasattr(model, "peft_config") and hasattr(model, "get_base_model") else model
    is_prm_processor = isinstance(processing_class, MMPRMProcessor)
    if processing_class is None or (isinstance(inner, MMPRMModel) and not is_prm_processor):
        raise ValueError(
            f"Found processing_class {type(processing_class).__name__} with a model object. Give the PRM's "
            "MMPRMProcessor (for a policy its processor or tokenizer), or the model as a path."
        )
    if inner is model and hasattr(model, "peft_config"):  # as an Auto class attaches it; the end could not be saved
        raise ValueError("The model carries an adapter. Merge it first, and give model.merge_and_unload().")
    if isinstance(inner, MMPRMModel):
        return model, processing_class
    processor = processing_class if is_prm_processor else _policy_processor(processing_class, args)
    if type(model).__name__.endswith("ForTokenClassification"):
        return _from_token_classifier(model, processor), processor
    return MMPRMModel.from_policy(model, processor), processor


def _policy_processor(policy: Any, args: PRMConfig) -> MMPRMProcessor:
    """The PRM's processor, from the path, processor or tokenizer of a policy."""
    if isinstance(policy, PreTrainedTokenizerBase) and policy.pad_token is None:
        policy.pad_token = policy.eos_token
    return MMPRMProcessor.from_policy(
        policy,
        marker_token=args.marker_token,
        positive_token=args.positive_token,
        negative_token=args.negative_token,
        step_separator=args.step_separator,
    )


def _from_token_classifier(classifier: PreTrainedModel, processor: MMPRMProcessor) -> MMPRMModel:
    """The PRM of a token classifier: its backbone (not copied) and its head, where label 0 is wrong and 1 is right.

    A bias that is still zero is left out: heads made from a policy have none either.
    """
    backbone, head = classifier.base_model, getattr(classifier, "score", getattr(classifier, "classifier", None))
    if classifier.config.num_labels != 2 or backbone is classifier or not isinstance(head, nn.Linear):
        raise ValueError(
            f"Found a {type(classifier).__name__} with {classifier.config.num_labels} labels. A PRM takes two labels "
            "(wrong, right) and a linear head over a backbone; load it with num_labels=2, or give the policy itself."
        )
    prepare_marker_row(backbone, processor)
    has_bias = head.bias is not None and bool(head.bias.detach().any())
    config = MMPRMConfig(
        vlm_config=backbone.config,
        head_bias=has_bias,
        marker_token=processor.marker_token,
        marker_token_id=processor.marker_token_id,
        positive_token=processor.positive_token,
        negative_token=processor.negative_token,
    )
    config.dtype = backbone.dtype
    with torch.device("meta"):
        model = MMPRMModel(config)
    model.vlm = backbone
    # Columns are [positive, negative].
    state = {name: parameter.detach().flip(0) for name, parameter in head.named_parameters()}
    model.score.load_state_dict(state if has_bias else {"weight": state["weight"]}, assign=True)
    return model.eval()


def with_adapter(model: MMPRMModel, peft_config: Any, *, in_float32: bool = False) -> PreTrainedModel:
    """Return the model with an adapter; head and marker row are trained in full.

    With `in_float32` all trained weights are float32, as peft keeps the adapter itself. Under autocast this is needed:
    a step of 1e-4 is half a unit in the last place of a bfloat16 weight of 0.03, and smaller ones are rounded away.
    """
    from peft import get_peft_model
    from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as KNOWN_TARGETS

    peft_config = copy.deepcopy(peft_config)
    peft_config.task_type = None  # a PRM generates nothing
    if getattr(peft_config, "target_modules", "absent") is None:
        peft_config.target_modules = KNOWN_TARGETS.get(model.config.get_text_config().model_type)
    peft_config.modules_to_save = sorted({"score", *(peft_config.modules_to_save or ())})
    if getattr(peft_config, "trainable_token_indices", "absent") is None:
        embeddings = model.get_input_embeddings()
        name = next(name for name, module in model.named_modules() if module is embeddings)
        peft_config.trainable_token_indices = {name.rsplit(".", 1)[-1]: [model.config.marker_token_id]}
    model.enable_input_require_grads()
    adapted = get_peft_model(model, peft_config)
    if in_float32:
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.float()
    return adapted


def save_start(
    model: nn.Module, start: str | None, folder: Path, *, is_policy: bool, repository: str | None = None
) -> None:
    """Write beside an adapter what it was trained on, so that the folder loads as a PRM: configuration and code.

    A PRM of the Hub needs neither: the adapter names it, as peft's adapters do. All else is named in config.json, and
    the adapter names its own repository or folder, which is where the Auto classes find that file. peft resolves such a
    path against the working directory, so only a folder below that is named. No path of the machine is written.

    Args:
        model: The PRM under its adapter, which is saved in the folder.
        start: Path or hub id of what the training started from; None writes nothing.
        folder: Where the adapter is. The path of a local start is written relative to it.
        is_policy: Whether `start` is a policy, from which the PRM was made.
        repository: Where the trainer pushes the folder; None if it does not.
    """
    path = folder / "adapter_config.json"
    if not path.exists():
        return
    # The class that peft's AutoPeftModel makes: it imports transformers, but no package that it does not know.
    settings = {**read_json(path), "auto_mapping": {"base_model_class": "AutoModel", "parent_library": "transformers"}}
    if start is not None and (is_policy or Path(start).is_dir()):
        prm = inner_prm(model)
        config = copy.deepcopy(prm.config)
        config.policy = os.path.join(".", os.path.relpath(start, folder)) if Path(start).is_dir() else start
        custom_object_save(prm, folder, config=config)
        config.save_pretrained(folder)
        own_path = os.path.join(".", os.path.relpath(folder))
        settings["base_model_name_or_path"] = repository or (None if own_path.startswith("./..") else own_path)
    write_json(path, settings)


def _apply_liger(model: nn.Module) -> None:
    """Put Liger's kernels into the backbone, whose configuration decides which."""
    from liger_kernel.transformers import _apply_liger_kernel_to_instance

    # A PRM has no vocabulary logits, so there is no cross-entropy for Liger to fuse.
    _apply_liger_kernel_to_instance(model=inner_prm(model).vlm, fused_linear_cross_entropy=False, cross_entropy=False)


def set_dropout_to_zero(model: nn.Module) -> None:
    """Set every dropout of a model to 0."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
