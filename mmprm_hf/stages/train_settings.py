"""Settings of a training: all that its weights depend on, so that a folder holds one training and no mixture.

They lie in ``train_config.json`` from the start; ``train_metrics.json`` is written last and says that it is finished.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import SettingsDifferError
from ..files import check_same_settings, read_json, write_json
from ..training import PRMConfig
from .file_fingerprints import checkpoint_fingerprint, data_fingerprint
from .places import check_output_folder
from .run_settings import without_known_names, without_machine_paths

_CONTENTS = {name: f"{name}_content" for name in ("model", "data", "candidates")}
_CONFIG, _METRICS = "train_config.json", "train_metrics.json"
# Beginnings of options that change no weight: what is logged and sent where, how rows are read, memory at evaluation.
_WITHOUT_EFFECT = (
    *("output_dir", "run_name", "project", "report_to", "log", "disable_tqdm", "trackio_", "push_to_hub", "hub_"),
    *("save_total_limit", "save_on_each_node", "enable_jit_checkpoint", "resume_from_checkpoint", "debug"),
    *("dataloader_num_", "dataloader_p", "dataloader_in_order", "dataloader_multi", "dataset_num_proc"),
    *("local_rank", "ddp_timeout", "skip_memory_metrics", "do_train", "do_eval", "do_predict"),
    *("per_device_eval_batch_size", "eval_accumulation_steps", "eval_do_concat_batches", "eval_use_gather_object"),
)
# They decide about weights only where the best saved ones are kept.
_SAVING = ("save_strategy", "save_steps", "save_only_model")


def training_settings(
    model: str,
    data: str | Path,
    eval_share: float,
    candidates: str | Path | None,
    args: PRMConfig,
    peft_config: Any,
    columns: Mapping[str, str],
) -> dict[str, Any]:
    """Return what a training depends on: models and data by name and content, and the options that change weights."""
    options = json.loads(args.to_json_string())
    ignored = (*_WITHOUT_EFFECT, *(() if args.load_best_model_at_end else _SAVING))
    adapter = None if peft_config is None else json.loads(json.dumps(peft_config.to_dict(), default=_sorted_or_str))
    settings = {
        "model": model,
        "model_content": checkpoint_fingerprint(model),
        "data": str(data),
        "data_content": data_fingerprint(data),
        "columns": dict(columns) or None,
        "eval_share": eval_share,
        "candidates": None if candidates is None else str(candidates),
        "candidates_content": data_fingerprint(candidates),
        "adapter": adapter,
        "num_processes": args.world_size,
        **{name: value for name, value in options.items() if not name.startswith(ignored)},
    }
    return without_machine_paths(settings)


def finished_metrics(output: Path, settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the metrics of a folder whose training is finished; None if it is not.

    Raises:
        SettingsDifferError: if the folder holds another training, finished or not, one without its settings, or files
            of something else.
        ValueError: if the file of the metrics contains something else.
    """
    path, metrics_path = output / _CONFIG, output / _METRICS
    if not path.exists():
        if metrics_path.exists() or any((output / "trainer").glob("checkpoint-*")):
            raise SettingsDifferError(
                f"{output} holds a training without {_CONFIG}, which says what it was trained with. Restore the file, "
                "or choose another output folder."
            )
        check_output_folder(output, "the folder of a training", beside=("trainer", "dry_run.json"))
        return None
    before = read_json(path)
    if isinstance(before, Mapping):  # a version that wrote it may not have known every setting
        known = {*before, "model", "data", "seed"}
        settings = {name: value for name, value in settings.items() if name in known}
        before = without_machine_paths({name: before.get(name) for name in settings})
        before, settings = without_known_names(before, settings, _CONTENTS)
    check_same_settings(path, before, settings)
    if not metrics_path.exists():
        return None
    metrics = read_json(metrics_path)
    if not isinstance(metrics, dict):
        raise ValueError(
            f"{metrics_path} is {str(metrics)[:60]!r}, not the metrics of a training. Restore it; or delete it, and "
            "start again: they are measured again from the last checkpoint."
        )
    return metrics


def write_start(output: Path, settings: Mapping[str, Any]) -> None:
    """Claim a folder for a training."""
    write_json(output / _CONFIG, settings)


def finite(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return metrics with None for what is not finite, as in a training that diverged: JSON has no NaN."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in metrics.items()
    }


def write_end(output: Path, settings: Mapping[str, Any], facts: Mapping[str, Any], metrics: Mapping[str, Any]) -> None:
    """Write what a training did, and then its metrics: it is finished."""
    write_json(output / _CONFIG, without_machine_paths({**facts, **settings}))
    write_json(output / _METRICS, metrics)


def _sorted_or_str(value: Any) -> Any:
    return sorted(value) if isinstance(value, (set, frozenset)) else str(value)
