"""Tiny random policies of many families with their stock processors, for the conformance tests: offline, seeded.

Each builder follows its real family: names of the special tokens, chat template, BOS, image tiling, layer types.
Importing this module imports neither torch nor transformers, so that `enable_torchvision` can run before them: a
torchvision wheel beside another build of torch breaks every import of transformers until it has run.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support.backbones_text import (
    build_cohere,
    build_gemma2,
    build_llama,
    build_mistral,
    build_qwen2,
    build_qwen3,
    build_qwen3_5,
)
from support.backbones_vision import (
    build_gemma3,
    build_gemma3_full,
    build_idefics3,
    build_internvl,
    build_llava,
    build_llava_next,
    build_llava_onevision,
    build_paligemma,
    build_qwen2_5_vl,
    build_qwen3_vl,
    build_smolvlm,
)

_torchvision_library: Any = None  # torch drops the operators when this object goes


def enable_torchvision(folder: str | os.PathLike | None = None) -> bool:
    """Make torchvision importable beside any build of torch and return whether it is. Call it before transformers.

    `folder` (made by ``pip install --no-deps --target``) joins this process's path only. A torchvision inside the
    environment itself breaks transformers in every process that does not call this, subprocesses of tests included.

    The wheel on PyPI is built for CUDA: with the CPU torch its operators do not load and `import torchvision` fails
    on their fake kernels. Declaring the two operators that it touches is enough, as image processors need neither.
    """
    global _torchvision_library
    if folder is not None and str(folder) not in sys.path:
        sys.path.append(str(folder))
    if importlib.util.find_spec("torchvision") is None:
        return False
    import torch

    try:
        import torchvision  # noqa: F401
    except RuntimeError as error:  # torchvision 0.28.0 beside torch 2.13.0+cpu; goes once their builds match
        if "torchvision::nms" not in str(error):
            raise
        _torchvision_library = torch.library.Library("torchvision", "DEF")
        _torchvision_library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _torchvision_library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import torchvision  # noqa: F401
    return True


@dataclasses.dataclass(frozen=True)
class Backbone:
    """One family.

    Args:
        name: Key in `BACKBONES`.
        build: ``build(with_marker=False) -> (policy in eval mode, processor or tokenizer)``; `with_marker` puts <prm>
            into the vocabulary, so that the policy has an embedding row of its own for it.
        needs_torchvision: True if the stock processor cannot be made or loaded without torchvision.
        has_images: False for a text-only policy, which comes with a tokenizer.
    """

    name: str
    build: Callable[..., tuple[Any, Any]]
    needs_torchvision: bool
    has_images: bool


def missing_packages(name: str) -> list[str]:
    """Packages that the stock processor of a family needs and that are not installed."""
    packages = ["torchvision"] if BACKBONES[name].needs_torchvision else []
    packages += ["num2words"] if name == "smolvlm" else []
    return [package for package in packages if importlib.util.find_spec(package) is None]


def save(name: str, folder: str | os.PathLike, with_marker: bool = False) -> str:
    """Write policy and processor of a family into a folder that the Auto classes load; return its path."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    policy, processor = BACKBONES[name].build(with_marker)
    policy.save_pretrained(folder)
    processor.save_pretrained(folder)
    return str(folder)


# Name, builder, needs_torchvision, has_images
BACKBONES: dict[str, Backbone] = {
    backbone.name: backbone
    for backbone in (
        Backbone("llama", build_llama, False, False),
        Backbone("qwen2", build_qwen2, False, False),
        Backbone("qwen3", build_qwen3, False, False),
        Backbone("llava", build_llava, False, True),
        Backbone("llava_next", build_llava_next, False, True),
        Backbone("llava_onevision", build_llava_onevision, True, True),
        Backbone("internvl", build_internvl, True, True),
        Backbone("qwen2_5_vl", build_qwen2_5_vl, True, True),
        Backbone("qwen3_vl", build_qwen3_vl, True, True),
        Backbone("gemma3", build_gemma3, False, True),
        Backbone("gemma3_full", build_gemma3_full, False, True),
        Backbone("idefics3", build_idefics3, False, True),
        Backbone("smolvlm", build_smolvlm, True, True),
        Backbone("paligemma", build_paligemma, False, True),
        Backbone("mistral", build_mistral, False, False),
        Backbone("gemma2", build_gemma2, False, False),
        Backbone("qwen3_5", build_qwen3_5, False, False),
        Backbone("cohere", build_cohere, False, False),
    )
}
