"""One function per stage of the method, from folder to folder; the CLI calls these and nothing else.

Stages meet through files: problems -> trees -> label rows -> checkpoint -> results, so each restarts alone.
Top of the house: may import every room; nothing imports it but the CLI.
"""

from __future__ import annotations

import asyncio
import dataclasses
import difflib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import yaml
from tqdm import tqdm

from .answers import RuleVerifier
from .data import Problem, content_hash
from .engines import ChatClient, EndpointEngine, RolloutEngine, SamplingConfig, TransformersEngine
from .files import write_json
from .labelling import flat_mc, omegaprm, omegaprm_reference
from .labelling.chat_judge import ChatStepJudge
from .labelling.consensus import ConsensusSearch, PRMStepJudge, StepJudge
from .labelling.driver import LabelSummary, label_problems
from .labelling.estimate import Prices, choose_sample, estimate_folder
from .labelling.label_files import write_label_dataset
from .labelling.label_selection import LabelRowsConfig
from .labelling.run_folder import TreeFile
from .labelling.tree_draft import Verifier
from .nano.world import load_nano
from .problem_source import ProblemSource
from .restructuring.checks import CheckConfig
from .restructuring.corpus import JOURNAL, SUMMARY, write_corpus
from .restructuring.journal import ReplyJournal
from .restructuring.prompt import prompt_identity
from .restructuring.report import compare, summarise
from .restructuring.rows import FreeFormRow, Outcome
from .restructuring.run import RestructureConfig
from .restructuring.run import restructure as restructure_rows

SEARCHES = {
    "omegaprm": (omegaprm.search, omegaprm.OmegaPRMConfig),
    "omegaprm_reference": (omegaprm_reference.search, omegaprm.OmegaPRMConfig),
    "flat_mc": (flat_mc.search, flat_mc.FlatMCConfig),
}


@dataclasses.dataclass(frozen=True)
class Servers:
    """What does not run in this process: OpenAI-compatible servers by URL, each of which must serve one model.

    Args:
        engine: Runs the policy; None runs it here.
        judge: Judge of answers that the rules leave undecided; None leaves them so.
        step_judge: Judge of steps for `labelling.consensus`, by URL, or a PRM by path or hub id; None asks nobody.
        prefill: How the engine shows a prefix, see `EndpointEngine`.
        api_key: Sent to all of them.
        step_judge_max_new_tokens: The most tokens of a reply of a chat model as step judge; one that thinks at length
            needs more.
    """

    engine: str | None = None
    judge: str | None = None
    step_judge: str | None = None
    prefill: str = "continue"
    api_key: str | None = None
    step_judge_max_new_tokens: int = 1024

    def chat(self, url: str, model: str | None = None) -> ChatClient:
        """A client of one of them."""
        return ChatClient(url, model, api_key=self.api_key)


def read_config(path: Path | None, *known: type) -> list[dict[str, Any]]:
    """Options of a YAML file, split among the dataclasses that know them.

    Raises:
        ValueError: for a key that none of them knows, with close matches.
    """
    options = {} if path is None else yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    if not isinstance(options, Mapping):
        raise ValueError(f"{path} holds a {type(options).__name__}; a configuration is a mapping of options to values.")
    names = [{field.name for field in dataclasses.fields(cls) if field.init} for cls in known]
    for key in options:
        if not any(key in fields for fields in names):
            everything = sorted(set().union(*names))
            matches = difflib.get_close_matches(str(key), everything, n=3)
            hint = f"did you mean {' or '.join(matches)}?" if matches else f"known are {', '.join(everything)}."
            raise ValueError(f"Unknown option {key!r} in {path}: {hint}")
    return [{key: value for key, value in options.items() if key in fields} for fields in names]


def build_nano_data(output: Path, num_train: int, num_test: int) -> dict[str, int]:
    """Write the nano dataset as ``train.parquet`` and ``test.parquet``; `load_dataset(folder)` reads it back."""
    output.mkdir(parents=True, exist_ok=True)
    counts = {}
    for split, count in (("train", num_train), ("test", num_test)):
        dataset = load_nano(split, count)
        dataset.to_parquet(output / f"{split}.parquet")
        counts[split] = len(dataset)
    return counts


class _FreeFormRows(Sequence):
    """Rows of a dataset as the restructuring reads them, made as their turn comes; figures keep their bytes."""

    def __init__(self, source: Path, num_rows: int | None) -> None:
        reader = {".parquet": "parquet", ".jsonl": "json", ".json": "json"}.get(source.suffix)
        if source.is_dir():
            rows = datasets.load_dataset(str(source), split="train")
        elif reader and source.is_file():
            rows = datasets.load_dataset(reader, data_files=str(source), split="train")
        else:
            raise ValueError(f"{source} is neither a dataset folder nor a .parquet or .jsonl file. Check the path.")
        missing = {"question", "solution"} - set(rows.column_names)
        if missing:
            raise ValueError(
                f"{source} has the columns {rows.column_names} and lacks {sorted(missing)}. Restructuring needs "
                "question and solution; rename yours."
            )
        feature = rows.features.get("images")
        if isinstance(getattr(feature, "feature", None), datasets.Image):
            rows = rows.cast_column("images", datasets.List(datasets.Image(decode=False)))
        self._rows = rows if num_rows is None else rows.select(range(min(num_rows, len(rows))))
        self._folder = source if source.is_dir() else source.parent

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> FreeFormRow:
        row = FreeFormRow.from_row(self._rows[index], index)
        # Paths in a JSON-lines file are relative to it.
        images = (str(self._folder / image) if isinstance(image, str) else image for image in row.images)
        return dataclasses.replace(row, images=tuple(images))


def restructure(
    data: Path,
    output: Path,
    *,
    servers: Servers,
    model: str | None = None,
    show_figure: str = "no",
    num_rows: int | None = None,
    config: Path | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Turn free-form solutions into tagged steps, a corpus for TRL's `SFTTrainer`; goes on from an unfinished folder.

    Writes ``train.parquet``, ``rejected.jsonl``, ``restructure.json`` and ``replies.jsonl`` (all that was paid for:
    other thresholds ask nothing again).

    Args:
        data: Dataset folder, parquet or JSON-lines file in MM-K12's schema with a column `solution`.
        output: Folder to write.
        servers: `engine` is where the model is.
        model: Its name there, None for the only one.
        show_figure: "no" (text only, as in the paper), "yes", or "compare": both are asked, differences reported, and
            the corpus is that of "no".
        num_rows: The first so many rows, None for all.
        config: YAML with options of `RestructureConfig` and `CheckConfig`.
        progress: Show a bar.

    Returns:
        The content of ``restructure.json``.

    Raises:
        EngineUnavailableError: if the server is gone; nothing that was paid for is lost.
    """
    ways = {"no": (False,), "yes": (True,), "compare": (False, True)}
    if show_figure not in ways:
        raise ValueError(f"Found show_figure={show_figure!r}; it must be one of {', '.join(ways)}.")
    if servers.engine is None:
        raise ValueError("Restructuring needs a server. Give the URL of one that is OpenAI-compatible.")
    run_options, check_options = read_config(config, RestructureConfig, CheckConfig)
    run_config, checks = RestructureConfig(**run_options), CheckConfig(**check_options)
    rows, chat = _FreeFormRows(data, num_rows), servers.chat(servers.engine, model)
    with ReplyJournal(output / JOURNAL) as journal:

        async def ask(bar: tqdm) -> list[list[Outcome]]:
            options = {"config": run_config, "checks": checks, "on_done": lambda _: bar.update()}
            return [
                await restructure_rows(rows, chat, journal, show_figure=is_shown, **options)
                for is_shown in ways[show_figure]
            ]

        total = len(rows) * len(ways[show_figure])
        with tqdm(total=total, desc="restructure", unit="row", smoothing=0, disable=not progress) as bar:
            outcomes = asyncio.run(ask(bar))
        write_corpus(rows, outcomes[0], journal, output)
        asked_now = {
            "num_replies": len(journal.added),
            "tokens_in": sum(reply.tokens_in for reply in journal.added),
            "tokens_out": sum(reply.tokens_out for reply in journal.added),
        }
    report = {
        **summarise(outcomes[0]),
        "asked_now": asked_now,
        "show_figure": show_figure,
        "shown": summarise(outcomes[1]) if len(outcomes) > 1 else None,
        "compare": compare(*outcomes) if len(outcomes) > 1 else None,
        "config": dataclasses.asdict(run_config),
        "checks": dataclasses.asdict(checks),
        "data": str(data),
        "model": chat.identity,
        "prompt": prompt_identity(),
    }
    write_json(output / SUMMARY, report)
    return report


def label(
    policy: str | Path | None,
    output: Path,
    *,
    data: Path | None,
    num_problems: int,
    search: str,
    config: Path | None,
    seed: int,
    servers: Servers = Servers(),  # noqa: B008 (frozen)
    max_in_flight: int = 64,
    max_undecided: float = 0.2,
) -> dict[str, Any]:
    """Search step labels for train problems; resumes an unfinished folder.

    Writes ``trees.jsonl`` (one tree a line), ``run.json``, ``ledger.jsonl`` and ``summary.json`` (costs),
    ``failures.jsonl``, and what `write_label_dataset` makes of the trees. The YAML holds options of the search,
    `SamplingConfig` and `LabelRowsConfig`; `seed` is the search's, the rows' own stands in the YAML.

    Args:
        policy: Path or hub id; with `servers.engine` the model's name at that server, None for its only one.
        output: The run folder.
        data: Dataset folder in MM-K12's schema, None for the nano world.
        num_problems: The first so many train problems.
        search: A name of `SEARCHES`.
        config: YAML with options.
        seed: Of the run.
        servers: Where the policy, a judge of answers and a judge of steps are.
        max_in_flight: Problems searched at a time.
        max_undecided: The most complete rollouts, as a share, that may stay without a verdict, see `label_problems`.

    Returns:
        ``{"ledger": what it cost, "labels": statistics of the rows}``.
    """
    problems = ProblemSource(data, num_problems)
    summary = _search(problems, policy, output, search, config, seed, servers, max_in_flight, max_undecided)
    rows_config = _read_options(config, search)[2]
    return {"ledger": dataclasses.asdict(summary), "labels": write_label_rows(problems, output, rows_config)}


def estimate(
    policy: str | Path | None,
    output: Path,
    *,
    num_sampled: int,
    prices: Prices,
    data: Path | None,
    num_problems: int,
    search: str,
    config: Path | None,
    seed: int,
    servers: Servers = Servers(),  # noqa: B008 (frozen)
    max_in_flight: int = 64,
    max_undecided: float = 0.2,
) -> dict[str, Any]:
    """Label a sample of the problems, and predict rollouts, tokens, hours, cost and label rows of the whole run.

    The sample is chosen by hash and labelled into the run folder itself: `label` goes on from there. Arguments as in
    `label`; `num_sampled` problems are labelled.

    Returns:
        See `labelling.estimate.predict`.
    """
    problems = ProblemSource(data, num_problems)
    sample = choose_sample(problems, num_sampled, seed)
    _search(sample, policy, output, search, config, seed, servers, max_in_flight, max_undecided)
    prediction = estimate_folder(sample, output, len(problems), prices, _read_options(config, search)[2])
    write_json(output / "estimate.json", prediction)
    return prediction


def _search(
    problems: Sequence[Problem],
    policy: str | Path | None,
    output: Path,
    search: str,
    config: Path | None,
    seed: int,
    servers: Servers,
    max_in_flight: int,
    max_undecided: float,
) -> LabelSummary:
    """Trees of these problems in the run folder."""
    if search not in SEARCHES:
        raise ValueError(f"Unknown search {search!r}; choose one of {', '.join(SEARCHES)}.")
    run_search, _ = SEARCHES[search]
    search_config, sampling, rows_config = _read_options(config, search)
    if rows_config.consensus == "drop" and servers.step_judge is None:
        raise ValueError(
            'Found consensus="drop" without a step judge: nothing could disagree with the estimates. Name a step judge '
            '(--step-judge), or leave consensus at "ignore".'
        )
    if servers.step_judge is not None:
        run_search = ConsensusSearch(run_search, _step_judge(servers))
    return label_problems(
        problems,
        _engine(policy, servers, sampling),
        _verifier(servers),
        run_search,
        search_config,
        output,
        seed=seed,
        max_in_flight=max_in_flight,
        max_undecided=max_undecided,
    )


def _read_options(config: Path | None, search: str) -> tuple[Any, SamplingConfig, LabelRowsConfig]:
    """The search's dataclass, sampling and rows: a bad option ends a run before it has cost anything."""
    classes = (SEARCHES[search][1], SamplingConfig, LabelRowsConfig)
    options = read_config(config, *classes)
    return tuple(cls(**found) for cls, found in zip(classes, options, strict=True))


def _engine(policy: str | Path | None, servers: Servers, sampling: SamplingConfig) -> RolloutEngine:
    """The policy in this process, or behind a server."""
    if servers.engine is not None:
        chat = servers.chat(servers.engine, None if policy is None else str(policy))
        return EndpointEngine(chat, sampling=sampling, prefill=servers.prefill)
    if policy is None:
        raise ValueError("Found neither a policy nor the URL of an engine. Name a policy, or a server that runs it.")
    from transformers import AutoModelForImageTextToText, AutoProcessor

    return TransformersEngine(
        AutoModelForImageTextToText.from_pretrained(policy), AutoProcessor.from_pretrained(policy), sampling=sampling
    )


def _verifier(servers: Servers) -> Verifier:
    """Rules, with a judge behind them if there is one."""
    if servers.judge is None:
        return RuleVerifier()
    from .judge_verifier import JudgeVerifier

    return JudgeVerifier(RuleVerifier(), servers.chat(servers.judge))


def _step_judge(servers: Servers) -> StepJudge:
    """A chat model behind a URL, or a PRM by path or hub id."""
    if servers.step_judge.startswith(("http://", "https://")):
        chat = servers.chat(servers.step_judge)
        return ChatStepJudge(chat, max_new_tokens=servers.step_judge_max_new_tokens)
    from .models import MMPRMModel, MMPRMProcessor
    from .scoring import PRMScorer

    model, processor = (cls.from_pretrained(servers.step_judge) for cls in (MMPRMModel, MMPRMProcessor))
    return PRMStepJudge(PRMScorer(model, processor))


def write_label_rows(
    problems: Sequence[Problem], output: Path, config: LabelRowsConfig | None = None
) -> dict[str, Any]:
    """Make the trees of a label folder a dataset beside them (`write_label_dataset`), and return its statistics."""
    return write_label_dataset(problems, TreeFile(output / "trees.jsonl"), output, config)


def train(
    model: str,
    data: Path,
    output: Path,
    *,
    config: Path | Mapping[str, Any] | None,
    eval_share: float = 0.02,
    seed: int = 0,
    peft_config: Any = None,
) -> dict[str, float]:
    """Train a PRM from a policy (or PRM) on stepwise-supervision rows, resume an unfinished run, and save it.

    Several processes may call it together (`accelerate launch`); the first one writes the files.

    Args:
        model: Path or hub id of a policy or a PRM.
        data: Folder that `load_dataset` reads, such as ``labels/paths``.
        output: Checkpoint folder; trainer states lie in ``output/trainer``.
        config: YAML with options of `PRMConfig`, or the options themselves.
        eval_share: Share of problems, chosen by hash, whose rows are kept for evaluation; for data without a
            validation split, which is used as it is.
        seed: Of the training.
        peft_config: As in `PRMTrainer`; what is saved is then the adapter.

    Returns:
        Evaluation metrics.
    """
    from .training.prm_config import PRMConfig
    from .training.prm_trainer import PRMTrainer

    options = config if isinstance(config, Mapping) else read_config(config, PRMConfig)[0]
    train_rows, eval_rows = _train_and_eval(data, eval_share)
    states = output / "trainer"
    args = PRMConfig(output_dir=str(states), seed=seed, **options)
    trainer = PRMTrainer(
        model,
        args,
        train_dataset=train_rows,
        eval_dataset=eval_rows if len(eval_rows) else None,
        peft_config=peft_config,
    )
    trainer.train(resume_from_checkpoint=any(states.glob("checkpoint-*")))
    metrics = trainer.evaluate() if len(eval_rows) else {}
    trainer.save_model(str(output))
    if not trainer.is_world_process_zero():
        return metrics
    write_json(output / "train_metrics.json", metrics)
    counts = {"num_train_rows": len(train_rows), "num_eval_rows": len(eval_rows)}
    resolved = {"model": model, "data": str(data), "eval_share": eval_share, **counts}
    resolved |= json.loads(args.to_json_string())
    write_json(output / "train_config.json", {**resolved, "dropped_rows": trainer.dropped_rows})
    return metrics


def _train_and_eval(data: Path, eval_share: float) -> tuple[datasets.Dataset, datasets.Dataset]:
    """The dataset's own train and validation splits, or the train split divided by a hash of `problem_id`."""
    splits = datasets.load_dataset(str(data))
    if "validation" in splits:
        return splits["train"], splits["validation"]
    rows = splits["train"]
    is_eval = [
        int(content_hash(problem_id, length=8), 16) % 1000 < 1000 * eval_share for problem_id in rows["problem_id"]
    ]
    eval_rows = rows.select([index for index, held_out in enumerate(is_eval) if held_out])
    return rows.select([index for index, held_out in enumerate(is_eval) if not held_out]), eval_rows
