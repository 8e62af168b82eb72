"""The labelling stage: from problems to trees, label rows and what they cost, or to a prediction of that."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..answers import RuleVerifier
from ..data import Problem
from ..engines import EndpointEngine, RolloutEngine, SamplingConfig, TransformersEngine, load_policy
from ..errors import UnknownNameError, loading
from ..files import check_outside, lock_folder, read_json, write_json, writing
from ..labelling import (
    SEARCHES,
    ChatAnswerJudge,
    ChatStepJudge,
    ConsensusSearch,
    LabelRowsConfig,
    LabelRun,
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
from ..rows import FigureRules, ProblemSource, hub_configs
from .label_checks import check_label_folder
from .options import PolicyForm, Servers, read_config, read_yaml
from .places import replace_output_folder
from .problems import open_problems

logger = logging.getLogger(__name__)


def build_nano_data(output: str | Path, num_train: int, num_test: int) -> dict[str, int]:
    """Write the nano dataset, ``train.parquet`` and ``test.parquet`` with a card, and return the rows by split.

    `load_dataset` reads the folder.
    """
    output, counts = Path(output), {}
    _check_nano_folder(output)
    with lock_folder(output):
        for split, count in (("train", num_train), ("test", num_test)):
            dataset, path = load_nano(split, count), output / f"{split}.parquet"
            with writing(path):
                dataset.to_parquet(f"{path}.part")
                os.replace(f"{path}.part", path)
            counts[split] = len(dataset)
        configs = hub_configs(output, {"default": ""}, ("train", "test"))
        write_json(output / "facts.json", {**nano_dataset_facts(counts), "configs": configs})
        write_card(output / "facts.json", output / "README.md")
    return counts


def _check_nano_folder(folder: Path) -> None:
    """Note that an earlier nano dataset is replaced, and refuse to replace anything else."""
    facts = read_json(folder / "facts.json") if (folder / "facts.json").exists() else None
    is_own = isinstance(facts, dict) and facts.get("name") == nano_dataset_facts({})["name"]
    replace_output_folder(folder, "a nano dataset", ("facts.json",) if is_own else ())


@dataclasses.dataclass(frozen=True)
class LabelOptions:
    """What to label, and how; `label` and `estimate` take the same options.

    Args:
        policy: Path or hub id; with `servers.engine` the model's name at that server, None for its only one.
        output: The run folder.
        data: Problems in MM-K12's schema (folder, file or hub id); None or "nano" for the nano world.
        num_problems: The most train problems, from the first on.
        search: A name of `SEARCHES`.
        config: YAML file, or a mapping, with options of the search, of `SamplingConfig` and of `LabelRowsConfig`.
        seed: Seed of the search; the rows have a seed of their own in `config`.
        servers: Where the policy, a judge of answers and a judge of steps run.
        form: How the policy writes steps.
        max_in_flight: Problems that are searched at a time.
        rules: Which figures besides those in the data's folder may be read and fetched.
        columns: Our names of columns to those of the data, where they differ.
        max_undecided: The largest share of complete rollouts that may have no verdict, see `LabelRun`.
    """

    policy: str | Path | None
    output: str | Path
    data: str | Path | None = None
    num_problems: int = 1000
    search: str = "omegaprm"
    config: Path | Mapping[str, Any] | None = None
    seed: int = 0
    servers: Servers = Servers()
    form: PolicyForm = PolicyForm()
    max_in_flight: int = 64
    max_undecided: float = 0.2
    rules: FigureRules = FigureRules()
    columns: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "output", Path(self.output))


def label(options: LabelOptions) -> dict[str, Any]:
    """Search step labels for train problems; an unfinished folder is resumed.

    Writes ``trees.jsonl`` (one tree a line), ``run.json``, ``ledger.jsonl`` and ``summary.json`` (costs),
    ``failures.jsonl``, and what `write_label_dataset` makes from the trees.

    Returns:
        ``{"ledger": what it cost, "labels": statistics of the rows}``, and ``"data"`` with ``num_unreadable_rows`` if
        rows of `data` are not problems.

    Raises:
        ValueError: if the search or an option is unknown or out of range, a judge is missing, or the folder was made
            with other settings.
        RunStoppedError: if the run cannot continue; start it again to resume.
    """
    problems, num_unreadable = _readable_problems(options)
    configs = _Configs.read(options)
    summary = _search(problems, options, configs)
    report = {"ledger": dataclasses.asdict(summary), "labels": write_label_rows(problems, options.output, configs.rows)}
    return {**report, "data": {"num_unreadable_rows": num_unreadable}} if num_unreadable else report


def estimate(options: LabelOptions, num_sampled: int, prices: Prices) -> dict[str, Any]:
    """Label a sample of the problems, and predict rollouts, tokens, hours, cost and label rows of the whole run.

    The sample is chosen by hash and labelled in the run folder itself, where `label` resumes it.

    Args:
        options: What to label.
        num_sampled: Problems in the sample.
        prices: Prices of tokens and machine.

    Returns:
        See `labelling.estimate.predict`.
    """
    problems, _ = _readable_problems(options)
    configs = _Configs.read(options)
    sample = choose_sample(problems, num_sampled, options.seed)
    _search(sample, options, configs)
    prediction = estimate_folder(sample, options.output, len(problems), prices, configs.rows)
    write_json(options.output / "estimate.json", prediction)
    return prediction


def _readable_problems(options: LabelOptions) -> tuple[Sequence[Problem], int]:
    """The problems, and the number of rows that are not problems; those are logged, each with its fault."""
    check_outside(options.output, options.data)
    problems = open_problems(options.data, options.num_problems, "train", options.rules, options.columns)
    if not isinstance(problems, ProblemSource):
        return problems, 0
    problems, faults = problems.readable()
    for problem_id, fault in faults.items():
        logger.warning("Row %s of %s is left out: %s", problem_id, options.data, fault)
    if faults and not len(problems):
        raise ValueError(
            f"None of the {len(faults)} rows of {options.data} is a problem: {next(iter(faults.values()))}"
        )
    return problems, len(faults)


@dataclasses.dataclass(frozen=True)
class _Configs:
    """The dataclasses that a configuration fills: a wrong option ends a run before it has cost anything."""

    search: Any
    sampling: SamplingConfig
    rows: LabelRowsConfig

    @classmethod
    def read(cls, options: LabelOptions) -> _Configs:
        if options.search not in SEARCHES:
            raise UnknownNameError("search", options.search, SEARCHES)
        classes = (SEARCHES[options.search][1], SamplingConfig, LabelRowsConfig)
        values = read_config(options.config, *classes)
        configs = cls(*(config(**fields) for config, fields in zip(classes, values, strict=True)))
        if configs.rows.consensus == "drop" and options.servers.step_judge is None:
            raise ValueError(
                'Found consensus="drop" without a step judge: nothing can contradict the estimates. Name a step judge '
                '(--step-judge), or leave consensus at "ignore".'
            )
        return configs


def _search(problems: Sequence[Problem], options: LabelOptions, configs: _Configs) -> LabelSummary:
    """Search trees of these problems in the run folder."""
    search, _ = SEARCHES[options.search]
    folder, has_step_judge = options.output, options.servers.step_judge is not None
    values = (
        options.config if isinstance(options.config, Mapping) or options.config is None else read_yaml(options.config)
    )
    check_label_folder(folder, options.search, values, options.seed, has_step_judge)
    if options.servers.step_judge is not None:
        search = ConsensusSearch(search, _step_judge(options.servers))
    run = LabelRun(
        engine=open_engine(options.policy, options.servers, configs.sampling, options.form),
        verifier=_verifier(options.servers),
        search=search,
        config=configs.search,
        output_dir=options.output,
        seed=options.seed,
        max_in_flight=options.max_in_flight,
        max_undecided=options.max_undecided,
    )
    return label_problems(problems, run)


def open_engine(
    policy: str | Path | None,
    servers: Servers,
    sampling: SamplingConfig,
    form: PolicyForm = PolicyForm(),  # noqa: B008 (frozen)
) -> RolloutEngine:
    """Return the policy in this process, or behind a server."""
    if servers.engine is not None:
        chat = servers.chat(servers.engine, None if policy is None else str(policy), form.template_options)
        options = {"sampling": sampling, "prefill": servers.prefill}
        return EndpointEngine(chat, step_format=form.step_format, instruct=form.instruct, **options)
    if policy is None:
        raise ValueError("Found neither a policy nor the URL of an engine. Name a policy, or a server that runs one.")
    with loading("policy", policy):
        model, processor = load_policy(policy)
    return TransformersEngine(model, processor, sampling=sampling, **vars(form))


def _verifier(servers: Servers) -> Verifier:
    """Rules, with a judge behind them if there is one."""
    if servers.judge is None:
        return RuleVerifier()
    return ChatAnswerJudge(RuleVerifier(), servers.chat(servers.judge))


def _step_judge(servers: Servers) -> StepJudge:
    """A chat model behind a URL, or a PRM by path or hub id."""
    if servers.step_judge.startswith(("http://", "https://")):
        chat = servers.chat(servers.step_judge)
        return ChatStepJudge(chat, max_new_tokens=servers.step_judge_max_new_tokens)
    from ..scoring import PRMScorer

    return PRMStepJudge(PRMScorer.from_pretrained(servers.step_judge))


def write_label_rows(
    problems: Sequence[Problem],
    output: str | Path,
    config: LabelRowsConfig = LabelRowsConfig(),  # noqa: B008 (frozen)
) -> dict[str, Any]:
    """Write the trees of a label folder as a dataset beside them (`write_label_dataset`), and return its statistics.

    The folder's card is made from what the run counted. A README that people wrote is kept, with its file names
    corrected.
    """
    output = Path(output)
    statistics = write_label_dataset(problems, TreeFile(output / "trees.jsonl"), output, config)
    if not has_card_of_its_own(output):
        write_label_card(output, dataset_configs(output))
    return statistics
