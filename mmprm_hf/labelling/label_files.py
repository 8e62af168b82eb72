"""The label dataset on disk: ``paths``, ``trees`` and ``problems``, a parquet file per split each, and a README.

`load_dataset(folder)` gives the paths, `load_dataset(folder, "trees")` the trees, "problems" what was labelled. Files
appear whole or not at all, and a split that has no rows any more leaves no file behind.
"""

from __future__ import annotations

import dataclasses
import io
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ..data import Problem, SearchTree
from ..files import write_json
from ..rows import hub_configs, problem_features, problem_to_row, write_splits
from .label_rows import Row, label_features
from .label_selection import DROP_RULES, LabelRowsConfig, iter_label_rows, split_of
from .label_statistics import JudgeCounts, LabelCounts
from .label_trees import tree_features, tree_to_row
from .labelled_problems import LabelledProblems

logger = logging.getLogger(__name__)

SPLITS = ("train", "validation")
CONFIGS = ("paths", "trees", "problems")  # the first one is the default
_PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA")

_README = """# Step labels

- `paths`: one solution path a row, a label for each step (`prompt`, `completions`, `labels`; MC estimates in [0, 1],
  -100 where there is none), the counts behind it, where they come from, and a weight for each distinct prefix.
- `trees`: one search tree a row, as the paths were made from.
- `problems`: what was labelled, one row a problem; `problem_id` of the other two is its `id`.

`run.json` and `rows.json` say how they were made, `statistics.json` describes the paths.
"""


def write_label_dataset(
    problems: Sequence[Problem], trees: Iterable[SearchTree], folder: Path, config: LabelRowsConfig | None = None
) -> dict[str, Any]:
    """Write trees, the rows made of them and their problems as a dataset, and return the rows' statistics.

    Writes ``paths/``, ``trees/`` and ``problems/`` (by split, all split by problem), ``README.md``,
    ``statistics.json`` and ``rows.json`` (the resolved configuration). Made again with other options, all of them are
    replaced.

    A tree whose problem is not given, or has another content by now (its gold answer was corrected, say), is left out
    and counted (`num_trees_left_out`). Figures keep their bytes: files and the undecoded form of `datasets` are copied,
    Pillow images written as PNG.

    Args:
        problems: The problems that were labelled; of a lazy sequence one at a time is in memory.
        trees: Their trees, those of one problem next to each other. Gone through two or three times, one problem in
            memory at a time; an iterator, which cannot be, is listed.
        folder: The label folder, made if absent.
        config: None takes the defaults: all rows of problems that are solved sometimes, nothing held out.

    Raises:
        ValueError: if the trees give no row, or none to train on.
    """
    config = config or LabelRowsConfig()
    found = list(trees) if isinstance(trees, Iterator) else trees
    labelled = LabelledProblems(problems)
    num_left_out, judge = 0, JudgeCounts(config.consensus_threshold)
    # Paths first: trees that give none leave the folder as it was.
    counts, num_dropped = LabelCounts(), Counter()
    path_rows = _path_rows(labelled, _Trees(found, labelled), folder, config, counts, num_dropped)
    num_rows = write_splits(folder / "paths", path_rows, label_features(), SPLITS)
    split_by_id: dict[str, str] = {}

    def tree_rows() -> Iterator[tuple[str, dict[str, Any]]]:
        nonlocal num_left_out
        for tree in found:
            if not labelled.has(tree):
                num_left_out += 1
                continue
            judge.add(tree)
            split = split_of(labelled.of(tree), config.validation_share, config.seed)
            split_by_id[tree.problem_id] = split
            yield split, tree_to_row(tree, rollouts=config.tree_rollouts)

    sources: Counter[tuple[str | None, str | None]] = Counter()

    def problem_rows() -> Iterator[tuple[str, dict[str, Any]]]:
        for problem_id, split in split_by_id.items():
            problem = labelled.problem(problem_id)
            sources[_name(problem.meta.get("source")), _name(problem.meta.get("license"))] += 1
            yield split, {**problem_to_row(problem), "images": [_figure(image) for image in problem.images]}

    features = tree_features(rollouts=config.tree_rollouts)
    num_trees = write_splits(folder / "trees", tree_rows(), features, SPLITS, rows_in_memory=16)
    num_problems = write_splits(folder / "problems", problem_rows(), problem_features(), SPLITS, rows_in_memory=64)
    if num_left_out:
        logger.warning(
            "%d trees in %s belong to no problem given, or to an earlier version of one; they give no rows.",
            num_left_out,
            folder,
        )
    write_readme(folder)
    statistics = {
        **counts.statistics(),
        "num_rows_by_split": num_rows,
        "num_trees_by_split": num_trees,
        "num_problems_by_split": num_problems,
        "sources": [
            {"name": source, "license": license, "num_problems": count}
            for (source, license), count in sorted(sources.items(), key=str)
        ],
        "num_dropped_rows": {rule: num_dropped[rule] for rule in DROP_RULES},
        "num_trees_left_out": num_left_out,
        "judge": judge.statistics(),
    }
    write_json(folder / "statistics.json", statistics)
    write_json(folder / "rows.json", dataclasses.asdict(config))
    return statistics


@dataclasses.dataclass(frozen=True)
class _Trees:
    """The trees whose problems are there, without their rollouts; can be gone through again."""

    trees: Iterable[SearchTree]
    labelled: LabelledProblems

    def __iter__(self) -> Iterator[SearchTree]:
        return (dataclasses.replace(tree, rollouts=()) for tree in self.trees if self.labelled.has(tree))


def _path_rows(
    labelled: LabelledProblems,
    trees: Iterable[SearchTree],
    folder: Path,
    config: LabelRowsConfig,
    counts: LabelCounts,
    num_dropped: Counter[str],
) -> Iterator[tuple[str, Row]]:
    """Rows with their split, counted as they pass; raises at the end if there is nothing to train on."""
    num_rows: Counter[str] = Counter()
    for split, rows in iter_label_rows(labelled, trees, config, num_dropped):
        counts.add_problem(rows)
        images = [_figure(image) for image in rows[0]["images"]]  # once per problem: each row holds its figures
        num_rows[split] += len(rows)
        for row in rows:
            yield split, {**row, "images": images}
    _check_rows(num_rows["train"], num_rows["validation"], folder, config)


def _name(value: Any) -> str | None:
    """A source or licence as its row has it: a text, whatever the data holds; None where it is not told."""
    return None if value is None else str(value)


def _figure(image: Any) -> Any:
    """A figure as `datasets` stores it, without a second lossy compression: Pillow images become PNG."""
    from PIL import Image

    from ..models import upright

    if not isinstance(image, Image.Image):
        return image
    image, buffer = upright(image), io.BytesIO()  # a PNG has no tag that would turn it
    (image if image.mode in _PNG_MODES else image.convert("RGB")).save(buffer, format="PNG")
    return {"bytes": buffer.getvalue(), "path": None}


def _check_rows(num_train: int, num_validation: int, folder: Path, config: LabelRowsConfig) -> None:
    if num_train:
        return
    if num_validation:
        raise ValueError(
            f"All {num_validation} label rows of {folder} are held out by validation_share={config.validation_share}; "
            "there must be some to train on. Lower it, label more problems, or choose another seed."
        )
    raise ValueError(
        f"The trees in {folder} give no label row: every problem was solved always or never, or no label is left "
        "under the options of LabelRowsConfig. Label more problems, raise num_rollouts, or sample with another "
        "temperature."
    )


def write_readme(folder: Path) -> None:
    """Write (or correct) the ``configs`` metadata in the README.md of a folder; the rest of an existing card stays."""
    from huggingface_hub import DatasetCard

    path = folder / "README.md"
    card = DatasetCard.load(path) if path.exists() else DatasetCard(f"---\nconfigs: []\n---\n{_README}")
    card.data.configs = dataset_configs(folder)
    card.save(path)


def has_card_of_its_own(folder: Path) -> bool:
    """Whether somebody wrote the README.md of a folder: it is neither `write_readme`'s nor made from facts."""
    from huggingface_hub import DatasetCard

    path = folder / "README.md"
    if not path.exists():
        return False
    text = DatasetCard.load(path).text.strip()
    return text != _README.strip() and "<!-- Made from facts.json" not in text


def dataset_configs(folder: Path) -> list[dict[str, Any]]:
    """Hub configs of the files that are there."""
    return hub_configs(folder, {name: name for name in CONFIGS}, SPLITS)
