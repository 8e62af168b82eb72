"""The labelling stage: from problems to trees, label rows and what they cost, or to a prediction of that."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..answers import RuleVerifier
from ..data import Problem
from ..engines import EndpointEngine, RolloutEngine, SamplingConfig, TransformersEngine
from ..files import write_json
from ..labelling import (
    SEARCHES,
    ChatStepJudge,
    ConsensusSearch,
    LabelRowsConfig,
    LabelSummary,
    Prices,
    PRMStepJudge,
    StepJudge,
    TreeFile,
    Verifier,
    choose_sample,
    dataset_configs,
    estimate_folder,
    has_card_of_its_own,
    label_problems,
    write_label_dataset,
)
from ..nano import load_nano
from ..publish import nano_dataset_facts, write_card, write_label_card
from ..rows import hub_configs
from .options import Servers, read_config
from .problems import open_problems


def build_nano_data(output: Path, num_train: int, num_test: int) -> dict[str, int]:
    """Write the nano dataset, ``train.parquet`` and ``test.parquet`` with a card; `load_dataset` reads the folder."""
    output.mkdir(parents=True, exist_ok=True)
    counts = {}
    for split, count in (("train", num_train), ("test", num_test)):
        dataset = load_nano(split, count)
        dataset.to_parquet(output / f"{split}.parquet")
        counts[split] = len(dataset)
    configs = hub_configs(output, {"default": ""}, ("train", "test"))
    write_json(output / "facts.json", {**nano_dataset_facts(counts), "configs": configs})
    write_card(output / "facts.json", output / "README.md")
    return counts


def label(
    policy: str | Path | None,
    output: Path,
    *,
    data: Path | None,
    num_problems: int,
    search: str,
    config: Path | Mapping[str, Any] | None,
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
        config: YAML file, or a mapping, with options.
        seed: Of the run.
        servers: Where the policy, a judge of answers and a judge of steps are.
        max_in_flight: Problems searched at a time.
        max_undecided: The most complete rollouts, as a share, that may stay without a verdict, see `label_problems`.

    Returns:
        ``{"ledger": what it cost, "labels": statistics of the rows}``.
    """
    problems = open_problems(data, num_problems)
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
    config: Path | Mapping[str, Any] | None,
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
    problems = open_problems(data, num_problems)
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
    config: Path | Mapping[str, Any] | None,
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


def _read_options(config: Path | Mapping[str, Any] | None, search: str) -> tuple[Any, SamplingConfig, LabelRowsConfig]:
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
    from ..labelling import JudgeVerifier

    return JudgeVerifier(RuleVerifier(), servers.chat(servers.judge))


def _step_judge(servers: Servers) -> StepJudge:
    """A chat model behind a URL, or a PRM by path or hub id."""
    if servers.step_judge.startswith(("http://", "https://")):
        chat = servers.chat(servers.step_judge)
        return ChatStepJudge(chat, max_new_tokens=servers.step_judge_max_new_tokens)
    from ..scoring import PRMScorer

    return PRMStepJudge(PRMScorer.from_pretrained(servers.step_judge))


def write_label_rows(
    problems: Sequence[Problem], output: Path, config: LabelRowsConfig | None = None
) -> dict[str, Any]:
    """Make the trees of a label folder a dataset beside them (`write_label_dataset`), and return its statistics.

    Its card is made of what the run counted; a README that somebody wrote stays, with the names of the files corrected.
    """
    statistics = write_label_dataset(problems, TreeFile(output / "trees.jsonl"), output, config)
    if not has_card_of_its_own(output):
        write_label_card(output, dataset_configs(output))
    return statistics
