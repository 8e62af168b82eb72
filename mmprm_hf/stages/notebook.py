"""The stages as a notebook calls them: `mmprm_hf.label`, `train`, `evaluate` and `curate`.

Paths are texts or `Path`s, and options are those of the command line and its YAML files, with underscores. Nothing is
done here but sorting options to where the stages take them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import UnknownNameError
from ..evaluation import READERS, STEP_BENCHMARKS
from ..nano import POLICY_PATH, PRM_PATH, checkpoint_or_nano
from ..rows import FigureRules
from .benchmark_stage import BenchmarkData, evaluate_benchmark, rescore_benchmark
from .curate_stage import curate_dataset
from .demo_stage import evaluate_nano, load_models
from .evaluate_stage import evaluate_step_benchmark
from .label_stage import LabelOptions
from .label_stage import label as label_stage
from .options import PolicyForm, Servers
from .train_checks import check_training_paths
from .train_stage import train as train_stage

PathOrName = str | os.PathLike[str]
_SERVERS = {
    **{name: name for name in ("engine", "judge", "step_judge", "prefill", "api_key")},
    "timeout": "timeout_seconds",
    "step_judge_max_tokens": "step_judge_max_new_tokens",
}
_TRAIN_FLAGS = {"epochs": "num_train_epochs", "batch_size": "per_device_train_batch_size"}
_NANO_OPTIONS = {
    **{name: name for name in ("num_problems", "num_train_problems", "num_candidates", "seed")},
    "curves": "with_curves",
    "diagnose": "with_diagnosis",
}
_FIGURES = ("figures_root", "allow_urls")
_FORM = ("step_format", "instruct", "template_options")


def label(data: PathOrName, output: PathOrName, policy: PathOrName | None = None, **options: Any) -> dict[str, Any]:
    """Label the steps of a policy's solutions as `mmprm label` does, and return what it counted.

    Args:
        data: Problems: file, dataset folder or hub id, or "nano" for the nano world.
        output: Folder to write; an unfinished one is resumed. ``load_dataset(output)`` reads it.
        policy: Path or hub id, or the name at `engine`; None or "nano" for the shipped policy.
        options: What `mmprm label` takes on the command line or in YAML, such as ``num_problems=40`` (of 1,000 by
            default), ``columns={"question": "problem"}``, ``engine="http://127.0.0.1:8000"`` or ``num_rollouts=8``.

    Returns:
        As `stages.label`: ``{"ledger": what it cost, "labels": statistics of the label rows}``.

    Raises:
        UnknownNameError: for an option that does not exist.
        ValueError, RunStoppedError: as `stages.label`.

    Example:
        >>> mmprm_hf.label("nano", "out/labels", num_problems=40, num_rollouts=8)  # doctest: +SKIP
    """
    names = ("num_problems", "search", "seed", "max_in_flight", "max_undecided", "columns")
    servers, rules, named, others = _sorted(options, (*names, *_FORM))
    named["form"] = PolicyForm(**{name: named.pop(name) for name in _FORM if name in named})
    if servers.engine is None:
        policy = str(POLICY_PATH) if policy is None else checkpoint_or_nano(_text(policy), "policy")
    run = LabelOptions(_text(policy), Path(output), data, config=others, servers=servers, rules=rules, **named)
    with _knowing(*names, *_FORM, *_SERVERS, *_FIGURES):
        return label_stage(run)


def train(data: PathOrName, output: PathOrName, model: PathOrName, **options: Any) -> dict[str, Any]:
    """Train a PRM on step labels as `mmprm train` does, save it, and return its metrics.

    Args:
        data: Label rows: folder such as ``out/labels/paths``, file or hub id.
        output: Checkpoint folder to write; an unfinished training is resumed, a finished one is not trained again.
            ``PRMScorer.from_pretrained(output)`` reads it.
        model: Policy or PRM to start from, a path or hub id; "nano" for the shipped policy.
        options: What `mmprm train` takes on the command line or in YAML, such as ``learning_rate=1e-4``, ``epochs=1``,
            ``batch_size=4``, ``lora_r=8``, ``eval_share=0.1``, ``columns={"prompt": "question"}``, ``dry_run=True``,
            and every option of `PRMConfig`; besides ``peft_config``, as in `PRMTrainer`.

    Returns:
        As `stages.train`: the metrics of the last evaluation, empty without evaluation rows; with ``dry_run`` its
        report, of which `mmprm_hf.training.format_dry_run` makes text.

    Raises:
        UnknownNameError: for an option that does not exist.
        FileNotFoundError, ValueError: as `stages.train`, and for a path that is not there.

    Example:
        >>> mmprm_hf.train("out/labels/paths", "out/prm", "nano", epochs=1)  # doctest: +SKIP
        {'eval_loss': 0.31, 'eval_auroc': 0.88, ...}
    """
    names = ("eval_share", "seed", "candidates", "dry_run", "columns", "peft_config")
    _refuse(_of(options, tuple(_SERVERS)), (*names, *_TRAIN_FLAGS, *_FIGURES))
    _, rules, named, others = _sorted(options, (*names, *_TRAIN_FLAGS))
    flags = {name: named.pop(flag) for flag, name in _TRAIN_FLAGS.items() if flag in named}
    model, data = checkpoint_or_nano(_text(model), "policy"), _text(data)
    check_training_paths(model, data, named.get("candidates"))
    with _knowing(*names, *_TRAIN_FLAGS, *_FIGURES):
        return train_stage(model, data, Path(output), config={**others, **flags}, rules=rules, **named)


def evaluate(
    data: PathOrName,
    output: PathOrName | None = None,
    policy: PathOrName | None = None,
    prm: Any = None,
    *,
    benchmark: str = "own",
    **options: Any,
) -> dict[str, Any]:
    """Evaluate on problems of your own or a benchmark as `mmprm evaluate` does, and return the results.

    Args:
        data: Problems with answers: file, dataset folder or hub id. Of a step benchmark, its rows. "nano" for the nano
            world, whose steps are judged exactly, as `mmprm evaluate nano` does.
        output: Results file (.json), or the folder of a ``results.json``; candidates lie beside it, and are resumed.
            None writes nothing.
        policy: Path or hub id, or the name at `engine`; None or "nano" for the shipped policy. Step benchmarks have
            none.
        prm: Path or hub id, "nano" for the shipped PRM, or a scorer; None takes the one saved with the policy.
        benchmark: "own" for problem rows (``question``, ``answer``; figures in ``images`` or ``image``, and
            ``options``, if there are any), or a published benchmark, which decides how rows are read and worded.
        options: What `mmprm evaluate answers` or `steps` takes, such as ``num_candidates=8`` (16 by default),
            ``num_problems=100``, ``candidates="out/other/candidates.jsonl"``, or ``threshold=0.5``; of "nano" those of
            `mmprm evaluate nano`.

    Returns:
        A results document; `mmprm_hf.publish.format_results` makes text of it, `mmprm report` a page.

    Raises:
        UnknownNameError: for a benchmark or an option that does not exist.
        ValueError: as `stages.evaluate_benchmark`, `rescore_benchmark` and `evaluate_step_benchmark`.

    Example:
        >>> import mmprm_hf
        >>> results = mmprm_hf.evaluate("nano", num_problems=2, num_train_problems=2, num_candidates=2)
        >>> results["best_of_n"]["num_problems"]
        2
        >>> mmprm_hf.evaluate("mine.jsonl", "out/mine", "you/policy", "you/prm", num_candidates=8)  # doctest: +SKIP
    """
    if output is not None:
        output = Path(output) if Path(output).suffix == ".json" else Path(output) / "results.json"
    data, policy = _text(data), _text(policy)
    prm = checkpoint_or_nano(_text(prm), "PRM")
    if data == "nano" and benchmark == "own":
        return _evaluate_nano(output, policy, prm, options)
    if benchmark in STEP_BENCHMARKS:
        names = ("threshold", "tuned_on", "train_data", "num_samples")
        _, rules, named, others = _sorted(options, names)
        ignored = {**_of(options, tuple(_SERVERS)), **({} if policy is None else {"policy": policy})}
        _refuse({**others, **ignored}, (*names, *_FIGURES))
        return evaluate_step_benchmark(benchmark, data, output, prm=prm, rules=rules, **named)
    if benchmark not in READERS:
        raise UnknownNameError("benchmark", benchmark, (*READERS, *STEP_BENCHMARKS))
    with contextlib.nullcontext(output) if output is not None else tempfile.TemporaryDirectory() as place:
        return _evaluate_answers(benchmark, data, output or Path(place) / "results.json", policy, prm, options)


def _evaluate_nano(output: Path | None, policy: str | None, prm: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """Evaluate in the nano world; a scorer takes the shipped PRM's place."""
    _refuse({name: options[name] for name in options if name not in _NANO_OPTIONS}, tuple(_NANO_OPTIONS))
    is_scorer = hasattr(prm, "score_many")
    paths = checkpoint_or_nano(policy, "policy") or POLICY_PATH, PRM_PATH if is_scorer or prm is None else prm
    models = load_models(*paths)
    if is_scorer:
        models = dataclasses.replace(models, scorer=prm, names={**models.names, "prm": type(prm).__name__})
    return evaluate_nano(output, models=models, **{_NANO_OPTIONS[name]: value for name, value in options.items()})


def _evaluate_answers(
    benchmark: str, data: str, output: Path, policy: str | None, prm: Any, options: Mapping[str, Any]
) -> dict[str, Any]:
    """Solve the problems, or score the candidates that the options name."""
    drawing = ("num_candidates", "seed", "temperature", "top_p", "max_new_tokens")
    which, how = ("split", "subset", "num_problems", "columns"), ("aggregation", "batch_size")
    servers, rules, named, others = _sorted(options, (*drawing, *which, *how, *_FORM, "candidates"))
    _refuse(others, (*drawing, *which, *how, *_FORM, "candidates", *_SERVERS, *_FIGURES))
    problems = BenchmarkData(benchmark, data, **_of(named, which), rules=rules)
    if "candidates" in named:
        return rescore_benchmark(problems, Path(named["candidates"]), output, prm=prm, **_of(named, how))
    if servers.engine is None and policy == "nano":
        policy = None  # which brings its PRM
    call = {"num_candidates": 16, "seed": 0, **_of(named, drawing)}
    run = {"policy": policy, "prm": prm, "servers": servers, "options": call}
    run["form"] = PolicyForm(**_of(named, _FORM))
    return evaluate_benchmark(problems, output, **run, **_of(named, how))


def curate(
    sources: PathOrName | Mapping[str, Any] | Sequence[PathOrName | Mapping[str, Any]],
    output: PathOrName,
    **options: Any,
) -> dict[str, Any]:
    """Turn raw problems into a clean dataset with a card as `mmprm curate` does, and return what was counted.

    Args:
        sources: Raw problems: a file, dataset folder or ``hub:owner/name``, a mapping of the fields of
            `curation.SourceConfig`, or several of these.
        output: Folder to write; ``load_dataset(output)`` reads it.
        options: What `mmprm curate` takes on the command line or in YAML, such as ``num_test=500``,
            ``adapter="schema"``, ``benchmarks=["bench.jsonl"]`` or ``languages=["en"]``.

    Returns:
        The content of ``curation.json``; `mmprm_hf.stages.format_curation` makes a table of it.

    Raises:
        UnknownNameError: for an option that does not exist.
        ValueError, OSError: as `curation.curate`.

    Example:
        >>> mmprm_hf.curate("raw.jsonl", "out/curated", num_test=100)  # doctest: +SKIP
    """
    names = ("adapter", "split")
    servers, rules, named, others = _sorted(options, names)
    several = [sources] if isinstance(sources, (str, os.PathLike, Mapping)) else sources
    mappings = [source if isinstance(source, Mapping) else {"path": _text(source), **named} for source in several]
    with _knowing(*names, *_SERVERS, *_FIGURES):
        return curate_dataset(Path(output), config=others, sources=mappings, servers=servers, rules=rules)


def _sorted(
    options: Mapping[str, Any], names: Sequence[str]
) -> tuple[Servers, FigureRules, dict[str, Any], dict[str, Any]]:
    """Options as servers, rules about figures, those that have one of the names, and all others."""
    servers = Servers(**{field: options[name] for name, field in _SERVERS.items() if name in options})
    root, urls = options.get("figures_root", ()), options.get("allow_urls", False)
    rules = FigureRules(
        tuple(map(str, [root] if isinstance(root, (str, os.PathLike)) else root)),
        urls if isinstance(urls, bool) else (urls,) if isinstance(urls, str) else tuple(urls),
    )
    sorted_out = (*names, *_SERVERS, *_FIGURES)
    return servers, rules, _of(options, names), {name: options[name] for name in options if name not in sorted_out}


def _of(options: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """The options that have one of the names."""
    return {name: options[name] for name in names if name in options}


def _text(path: Any) -> Any:
    """A path as text; names, scorers and None as they are."""
    return os.fspath(path) if isinstance(path, os.PathLike) else path


def _refuse(others: Mapping[str, Any], names: Sequence[str]) -> None:
    """Refuse options that no function takes."""
    for name in others:
        raise UnknownNameError("option", name, sorted(names))


@contextlib.contextmanager
def _knowing(*names: str) -> Iterator[None]:
    """Let the message about an unknown option also list these."""
    try:
        yield
    except UnknownNameError as error:
        if error.what != "option":
            raise
        raise UnknownNameError("option", error.name, sorted({*error.known, *names}), error.where) from None
