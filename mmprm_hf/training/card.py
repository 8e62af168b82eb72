"""The model card that a training writes beside every checkpoint: facts of the run, nothing guessed."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from huggingface_hub import ModelCard, ModelCardData

from .prm_config import PRMConfig

if TYPE_CHECKING:
    from .prm_trainer import PRMTrainer

# Where a run stands, what it prints and where it writes says nothing about the model.
_NOT_HYPERPARAMETERS = {
    "output_dir", "logging_dir", "run_name", "report_to", "disable_tqdm", "hub_model_id", "hub_token", "push_to_hub",
    "hub_strategy", "hub_private_repo", "hub_always_push", "save_strategy", "save_steps", "save_total_limit",
    "eval_strategy", "eval_steps", "logging_steps", "logging_strategy", "logging_first_step", "do_train", "do_eval",
    "do_predict", "use_cpu", "local_rank", "deepspeed_plugin", "distributed_state", "project", "trackio_space_id",
    "remove_unused_columns", "dataloader_num_workers", "dataloader_pin_memory", "log_level", "accelerator_config",
    "load_best_model_at_end", "resume_from_checkpoint",
}  # fmt: skip
_CITATION = """@article{du2025mmprm,
  title = {MM-PRM: Enhancing Multimodal Mathematical Reasoning with Scalable Step-Level Supervision},
  author = {Du, Lingxiao and Meng, Fanqing and Liu, Zongkai and Zhou, Zhixiang and Luo, Ping and Zhang, Qiaosheng and
            Shao, Wenqi},
  journal = {arXiv preprint arXiv:2505.13427},
  year = {2025}
}"""


def write_card(
    trainer: PRMTrainer,
    folder: str | Path,
    model_name: str | None = None,
    *,
    dataset: str | None = None,
    language: str | None = None,
    license: str | None = None,  # noqa: A002 (Trainer's name)
    tags: str | list[str] | None = None,
    finetuned_from: str | None = None,
    **_: Any,
) -> None:
    """Write README.md into a folder.

    Args:
        trainer: The run.
        folder: Where the model is saved.
        model_name: Title; None takes the folder's name.
        dataset, language, license, tags, finetuned_from: Facts that the run cannot know, for the metadata.
    """
    base = finetuned_from or trainer.base_model_name
    own_tags = [tags] if isinstance(tags, str) else list(tags or ())
    metadata = ModelCardData(
        library_name="transformers",
        tags=list(dict.fromkeys([*trainer._tag_names, *own_tags])),
        base_model=base if base and not Path(base).is_absolute() and not Path(base).exists() else None,
        datasets=dataset,
        language=language,
        license=license,
    )
    name = model_name or Path(folder).resolve().name
    text = "\n".join(["", f"# {name}", "", *_body(trainer, base, dataset)])
    card = ModelCard(f"---\n{metadata.to_yaml()}\n---\n{text}")
    card.save(Path(folder) / "README.md")


def _body(trainer: PRMTrainer, base: str | None, dataset: str | None) -> list[str]:
    args, processor = trainer.args, trainer.processing_class
    shown = Path(base).name if base and Path(base).exists() else base
    dropped = ", ".join(
        f"{count} {split} rows ({reason})"
        for split, reasons in trainer.dropped_rows.items()
        for reason, count in reasons.items()
    )
    batch = args.per_device_train_batch_size
    return [
        "Process reward model: scores each step of a solution. Trained with `PRMTrainer` of mmprm_hf.",
        "",
        "```python",
        "from mmprm_hf.models import MMPRMModel, MMPRMProcessor",
        "from mmprm_hf.scoring import PRMScorer",
        "",
        'scorer = PRMScorer(MMPRMModel.from_pretrained("..."), MMPRMProcessor.from_pretrained("..."))',
        "```",
        "",
        "## Training",
        "",
        f"- Base model: {shown or 'not recorded'}",
        f"- Training data: {dataset or trainer.dataset_name or 'not recorded'}, {trainer.num_rows.get('train', 0):,} "
        f"rows; dropped: {dropped or 'none'}",
        f"- Rows: {_packing(trainer)}",
        f"- Labels: {_labels(args)}",
        f"- Batch: {batch} {'packed rows' if trainer.is_packed else 'rows'} x {args.gradient_accumulation_steps} "
        f"accumulated x {args.world_size} processes; optimizer steps {trainer.state.global_step:,}, epochs "
        f"{trainer.state.epoch or 0:.2f}",
        f"- Step marker `{processor.marker_token}`, score = P({processor.positive_token})",
        f"- Cost: {_cost(trainer)}",
        "",
        "Hyper-parameters that differ from the defaults:",
        "",
        *(f"- `{name}`: {json.dumps(value, default=str)}" for name, value in changed_arguments(args).items()),
        "",
        "## Evaluation",
        "",
        *_curves(trainer.state.log_history),
        "",
        "## Versions",
        "",
        ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("transformers", "torch", "datasets")),
        "",
        "## Citation",
        "",
        "```bibtex",
        _CITATION,
        "```",
        "",
    ]


def changed_arguments(args: PRMConfig) -> dict[str, Any]:
    """Options that differ from `PRMConfig`'s defaults and bear on the model."""
    changed = {}
    for field in dataclasses.fields(args):
        has_factory = field.default_factory is not dataclasses.MISSING
        default = field.default_factory() if has_factory else field.default
        value = getattr(args, field.name)
        # `TrainingArguments` turns some absent values into empty ones.
        if field.name not in _NOT_HYPERPARAMETERS and value != default and (value or default):
            changed[field.name] = getattr(value, "value", value)
    if changed.get("data_seed") == args.seed:
        del changed["data_seed"]
    return changed


def _packing(trainer: PRMTrainer) -> str:
    raw, trained = trainer.num_tokens["raw"], trainer.num_tokens["trained"]
    if not trainer.is_packed:
        return f"one by one, {raw:,} tokens an epoch"
    return (
        f"packed by problem, {trained:,} tokens an epoch instead of {raw:,} ({raw / max(trained, 1):.1f} times fewer)"
    )


def _labels(args: PRMConfig) -> str:
    mapping = {
        "soft": "soft (k / n)",
        "hard": f"hard (1 if k / n > {args.hard_threshold:g})",
        "banded": f"banded (0 up to {args.band_low:g}, 1 from {args.band_high:g}, ignored between)",
        "counts": "counts (binomial likelihood of k of n)",
    }[args.label_mapping]
    steps = {"all": "all labelled steps", "first_error": "steps up to the first error", "last": "the last step"}
    parts = [mapping, steps[args.train_on], f"{args.loss_type.replace('_', '-')} loss"]
    if args.positive_weight != 1:
        parts.append(f"right steps weighed {args.positive_weight:g}")
    if args.pairwise_weight:
        parts.append(f"ranking term {args.pairwise_weight:g}")
    return ", ".join(parts)


def _cost(trainer: PRMTrainer) -> str:
    seconds = trainer.train_seconds
    if seconds is None:
        return "not measured"
    device = trainer.args.device.type
    return f"{seconds / 3600:.2f} hours on {trainer.args.world_size} x {device} (of this start of the run)"


def _curves(history: list[dict[str, Any]]) -> list[str]:
    """Evaluations as a table, a row per step, and the last training loss."""
    evaluations = _evaluations(history)
    losses = [log for log in history if "loss" in log]
    lines = []
    if losses:
        points = losses[:: max(1, len(losses) // 8)]
        lines += [
            "Training loss by step: " + ", ".join(f"{log['step']}: {log['loss']:.4f}" for log in points) + ".",
            "",
        ]
    if not evaluations:
        return [*lines, "Evaluation: not measured."]
    skipped = ("eval_runtime", "eval_samples_per_second", "eval_steps_per_second", "eval_num_steps")
    names = [key for key in evaluations[-1] if key.startswith("eval_") and key not in skipped]
    shown = evaluations[:: max(1, len(evaluations) // 10)]
    if shown[-1] is not evaluations[-1]:
        shown.append(evaluations[-1])
    lines += [
        "| step | " + " | ".join(name.removeprefix("eval_") for name in names) + " |",
        "|" + " --- |" * (len(names) + 1),
    ]
    for log in shown:
        cells = [f"{log[name]:.4f}" if name in log else "" for name in names]
        lines.append(f"| {log.get('step', '')} | " + " | ".join(cells) + " |")
    return lines


def _evaluations(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The evaluations; what a callback logged behind one belongs to it."""
    found: list[dict[str, Any]] = []
    for log in history:
        names = {key for key in log if key.startswith("eval_")}
        if names and found and found[-1].get("step") == log.get("step") and not names & set(found[-1]):
            found[-1] = {**found[-1], **log}
        elif names:
            found.append(log)
    return found


__all__ = ["changed_arguments", "write_card"]
