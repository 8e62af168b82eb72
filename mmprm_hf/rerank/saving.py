"""A pipeline as one repo folder: the policy at the top, its PRM in ``prm/``, the options in ``rerank_config.json``.

config.json, model.safetensors, processor files     the policy
prm/                                                the PRM (or its adapter) with its processor
rerank_config.json                                  defaults of the pipeline's options
generate_and_rerank.py                              names the class for `pipeline(..., trust_remote_code=True)`
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from transformers.utils import cached_file

from ..engines import reads_figures
from ..files import read_json, write_atomically, write_json

PRM_FOLDER = "prm"
OPTIONS_FILE = "rerank_config.json"
CODE_FILE = "generate_and_rerank.py"
_CODE = '''"""Names the pipeline's class for `pipeline(model=..., trust_remote_code=True)`; it lives in the package
mmprm_hf, which must be installed (its README says how).
"""

from mmprm_hf.rerank.pipeline import GenerateAndRerankPipeline
'''


def custom_pipelines(task: str, config: Any) -> dict[str, Any]:
    """Return what a policy's config declares about the pipeline in its repo."""
    implementation = f"{Path(CODE_FILE).stem}.GenerateAndRerankPipeline"
    auto_class = "AutoModelForImageTextToText" if reads_figures(config) else "AutoModelForCausalLM"
    return {task: {"impl": implementation, "pt": [auto_class], "type": "multimodal"}}


def write_beside_policy(folder: Path, options: dict[str, Any]) -> None:
    """Write the code file and the options."""
    write_atomically(folder / CODE_FILE, _CODE)
    write_json(folder / OPTIONS_FILE, options)


def saved_options(policy: Any) -> dict[str, Any]:
    """Return the options saved with the repo that a loaded policy came from; empty for any other policy."""
    name = getattr(policy, "name_or_path", "")
    if not name:
        return {}
    path = cached_file(
        name,
        OPTIONS_FILE,
        revision=getattr(policy.config, "_commit_hash", None),
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_gated_repo=False,
        _raise_exceptions_for_connection_errors=False,
    )
    return {} if path is None else read_json(Path(path))


def saved_prm(policy: Any) -> Path | None:
    """Return the folder of the PRM saved with a loaded policy; None if there is none."""
    name = getattr(policy, "name_or_path", "")
    if not name:
        return None
    folder = Path(name)
    if not folder.is_dir():
        if not getattr(policy.config, "custom_pipelines", None):
            return None
        revision = getattr(policy.config, "_commit_hash", None)
        folder = Path(snapshot_download(os.fspath(name), allow_patterns=[f"{PRM_FOLDER}/*"], revision=revision))
    return folder / PRM_FOLDER if (folder / PRM_FOLDER).is_dir() else None
