"""The label dataset on disk: ``paths``, ``trees`` and ``problems``, a parquet file per split each, and a README.

`load_dataset(folder)` gives the paths, `load_dataset(folder, "trees")` the trees, `load_dataset(folder, "problems")`
what was labelled. Files appear whole or not at all, and a split without rows leaves no file behind.
"""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ..data import Problem, SearchTree
from ..files import write_json
from ..rows import hub_configs, problem_features, stored_figure, stored_problem, write_splits
from ..steps import count_faults, fault_words
from .label_rows import Row, label_features
from .label_selection import DROP_RULES, choose_split, iter_label_rows
from .label_statistics import JudgeCounts, LabelCounts
from .label_trees import tree_features, tree_to_row
from .labelled_problems import LabelledProblems
from .rows_config import LabelRowsConfig

logger = logging.getLogger(__name__)

SPLITS = ("train", "validation")
CONFIGS = ("paths", "trees", "problems")  # the first one is the default

_README = """# Step labels

- `paths`: one solution path a row, a label for each step (`prompt`, `completions`, `labels`; MC estimates in [0, 1],
  -100 where there is none), the counts behind it, where they come from, and a weight for each distinct prefix.
- `trees`: one search tree a row, as the paths were made from.
- `problems`: what was labelled, one row a problem; `problem_id` of the other two is its `id`.

`run.json` and `rows.json` say how they were made, `statistics.json` describes the paths.
"""


def write_label_dataset(
    problems: Sequence[Problem],
    trees: Iterable[SearchTree],
    folder: str | Path,
    config: LabelRowsConfig = LabelRowsConfig(),  # noqa: B008 (frozen)
) -> dict[str, Any]:
    """Write trees, the rows made from them and their problems as a dataset, and return the rows' statistics.

    Writes ``paths/``, ``trees/`` and ``problems/`` (by split, all split by problem), ``README.md``,
    ``statistics.json`` and ``rows.json`` (the configuration). Writing again replaces all of them.

    A tree is left out and counted (`num_trees_left_out`) if its problem is not given or has another content now, such
    as a corrected gold answer. Figures keep their bytes: files and the undecoded form of `datasets` are copied, Pillow
    images are written as PNG.

    Args:
        problems: The problems that were labelled; only one of a lazy sequence is in memory at a time.
        trees: Their trees, those of one problem next to each other. They are read two or three times, one problem in
            memory at a time; an iterator is turned into a list.
        folder: The label folder, created if absent.
        config: How trees become rows.

    Raises:
        ValueError: if the trees give no row, or none to train on. The folder stays as it was.
    """
    folder = Path(folder)
    trees = list(trees) if isinstance(trees, Iterator) else trees
    labelled = LabelledProblems(problems)
    paths = _PathRows(labelled, trees, config, folder)  # first: if they fail, nothing else is written
    num_paths = write_splits(folder / "paths", paths, label_features(), SPLITS)
    kept = _TreeRows(labelled, trees, config)
    features = tree_features(rollouts=config.tree_rollouts)
    num_trees = write_splits(folder / "trees", kept, features, SPLITS, rows_in_memory=16)
    sources: Counter[tuple[str | None, str | None]] = Counter()
    rows = _problem_rows(labelled, kept.splits, sources)
    num_problems = write_splits(folder / "problems", rows, problem_features(), SPLITS, rows_in_memory=64)
    if kept.num_left_out:
        logger.warning(
            "%d trees in %s are left out: their problems are not given, or have another content now.",
            kept.num_left_out,
            folder,
        )
    write_readme(folder)
    statistics = {
        **paths.counts.statistics(),
        "num_rows_by_split": num_paths,
        "num_trees_by_split": num_trees,
        "num_problems_by_split": num_problems,
        "sources": [
            {"name": source, "license": license, "num_problems": count}
            for (source, license), count in sorted(sources.items(), key=str)
        ],
        "num_dropped_rows": {rule: paths.num_dropped[rule] for rule in DROP_RULES},
        "num_trees_left_out": kept.num_left_out,
        "judge": kept.judge.statistics(),
    }
    write_json(folder / "statistics.json", statistics)
    write_json(folder / "rows.json", dataclasses.asdict(config))
    return statistics


class _PathRows:
    """Path rows with their split, counted as they are iterated; an error at the end if there is nothing to train on."""

    def __init__(
        self, labelled: LabelledProblems, trees: Iterable[SearchTree], config: LabelRowsConfig, folder: Path
    ) -> None:
        self._labelled, self._trees, self._config, self._folder = labelled, trees, config, folder
        self.counts, self.num_dropped = LabelCounts(), Counter[str]()

    def __iter__(self) -> Iterator[tuple[str, Row]]:
        num_rows: Counter[str] = Counter()
        trees = _TreesWithoutRollouts(self._labelled, self._trees)
        for split, rows in iter_label_rows(self._labelled, trees, self._config, self.num_dropped):
            self.counts.add_problem(rows)
            images = [stored_figure(image) for image in rows[0]["images"]]  # once per problem: rows share figures
            num_rows[split] += len(rows)
            for row in rows:
                yield split, {**row, "images": images}
        if not num_rows["train"]:
            raise _nothing_to_train_on(num_rows["validation"], self._folder, self._config, self._trees)


def _nothing_to_train_on(
    num_validation: int, folder: Path, config: LabelRowsConfig, trees: Iterable[SearchTree]
) -> ValueError:
    if num_validation:
        return ValueError(
            f"All {num_validation} label rows of {folder} are held out by validation_share={config.validation_share}; "
            "there must be some to train on. Lower it, label more problems, or choose another seed."
        )
    faults = count_faults(rollout.fault for tree in trees for _, rollout in tree.rollouts if not rollout.complete)
    return ValueError(
        f"The trees in {folder} give no label row: every problem was solved always or never, or the options of "
        "LabelRowsConfig leave no label. Label more problems, raise num_rollouts, or sample at another temperature."
        + (f" Of their rollouts {sum(faults.values())} are incomplete: {fault_words(faults)}." if faults else "")
    )


@dataclasses.dataclass(frozen=True)
class _TreesWithoutRollouts:
    """The trees whose problems are there, small, and as often as they are iterated."""

    labelled: LabelledProblems
    trees: Iterable[SearchTree]

    def __iter__(self) -> Iterator[SearchTree]:
        return (dataclasses.replace(tree, rollouts=()) for tree in self.trees if self.labelled.has(tree))


class _TreeRows:
    """Tree rows with their split, counted as they are iterated."""

    def __init__(self, labelled: LabelledProblems, trees: Iterable[SearchTree], config: LabelRowsConfig) -> None:
        self._labelled, self._trees, self._config = labelled, trees, config
        self.num_left_out, self.judge = 0, JudgeCounts(config.consensus_threshold)
        self.splits: dict[str, str] = {}  # by problem id, in the order of the trees

    def __iter__(self) -> Iterator[tuple[str, dict[str, Any]]]:
        for tree in self._trees:
            if not self._labelled.has(tree):
                self.num_left_out += 1
                continue
            self.judge.add(tree)
            split = choose_split(self._labelled.problem(tree.problem_id), self._config)
            self.splits[tree.problem_id] = split
            yield split, tree_to_row(tree, rollouts=self._config.tree_rollouts)


def _problem_rows(
    labelled: LabelledProblems, splits: dict[str, str], sources: Counter[tuple[str | None, str | None]]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Problem rows with their split; their sources and licenses are counted as they are iterated."""
    for problem_id, split in splits.items():
        problem = labelled.problem(problem_id)
        source, license = (problem.meta.get(name) for name in ("source", "license"))
        sources[None if source is None else str(source), None if license is None else str(license)] += 1
        yield split, stored_problem(problem)


def write_readme(folder: Path) -> None:
    """Write the README.md of a label folder, or correct the ``configs`` metadata of the one that is there."""
    from huggingface_hub import DatasetCard

    path = folder / "README.md"
    card = DatasetCard.load(path) if path.exists() else DatasetCard(f"---\nconfigs: []\n---\n{_README}")
    card.data.configs = dataset_configs(folder)
    card.save(path)


def has_card_of_its_own(folder: str | Path) -> bool:
    """Return whether people wrote the README.md of a folder: it is neither `write_readme`'s nor made from facts."""
    folder = Path(folder)
    from huggingface_hub import DatasetCard

    path = folder / "README.md"
    if not path.exists():
        return False
    text = DatasetCard.load(path).text.strip()
    return text != _README.strip() and "<!-- Made from facts.json" not in text


def dataset_configs(folder: str | Path) -> list[dict[str, Any]]:
    """Return the Hub's ``configs`` metadata for the files of a label folder."""
    folder = Path(folder)
    return hub_configs(folder, {name: name for name in CONFIGS}, SPLITS)
