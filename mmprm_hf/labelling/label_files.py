"""The label dataset on disk: ``paths/{split}.parquet``, ``trees/{split}.parquet`` and the README that names them.

`load_dataset(folder)` gives the paths, `load_dataset(folder, "trees")` the trees. Files appear whole or not at all,
and a split that has no rows any more leaves no file behind.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmprm_hf.data import Problem, SearchTree
from mmprm_hf.files import write_json
from mmprm_hf.labelling.label_rows import label_features
from mmprm_hf.labelling.label_selection import LabelRowsConfig, make_label_rows, split_of
from mmprm_hf.labelling.label_statistics import judge_statistics, label_statistics
from mmprm_hf.labelling.label_trees import tree_features, trees_to_dataset_rows

if TYPE_CHECKING:
    import datasets

SPLITS = ("train", "validation")
CONFIGS = ("paths", "trees")  # the first one is the default

_README = """# Step labels

- `paths`: one solution path a row, a label for each step (`prompt`, `completions`, `labels`; MC estimates in [0, 1],
  -100 where there is none), the counts behind it, where they come from, and a weight for each distinct prefix.
- `trees`: one search tree a row, as the paths were made from.

`run.json` and `rows.json` say how they were made, `statistics.json` describes the paths.
"""


def write_label_dataset(
    problems: Sequence[Problem], trees: Iterable[SearchTree], folder: Path, config: LabelRowsConfig | None = None
) -> dict[str, Any]:
    """Write trees and the rows made of them as a dataset, and return the rows' statistics.

    Writes ``paths/`` and ``trees/`` (both by split, both split by problem), ``README.md``, ``statistics.json`` and
    ``rows.json`` (the resolved configuration). Made again with other options, all of them are replaced.

    Args:
        problems: The problems that were labelled.
        trees: Their trees; taken one at a time, their rollouts are not held in memory.
        folder: The label folder, made if absent.
        config: None takes the defaults: all rows of problems that are solved sometimes, nothing held out.

    Raises:
        ValueError: if the trees give no row, or none to train on, or one belongs to no problem given.
    """
    from datasets import Image

    config = config or LabelRowsConfig()
    encode = Image().encode_example  # once per problem: each of its rows holds its figures
    problems = [dataclasses.replace(problem, images=tuple(map(encode, problem.images))) for problem in problems]
    side_of = {problem.id: split_of(problem, config.validation_share, config.seed) for problem in problems}
    light_trees: list[SearchTree] = []

    def light() -> Iterator[SearchTree]:
        for tree in trees:
            light_trees.append(dataclasses.replace(tree, rollouts=()))
            yield tree

    tree_rows = trees_to_dataset_rows(problems, light(), rollouts=config.tree_rollouts)
    split_trees = ((side_of[row["problem_id"]], row) for row in tree_rows)
    write_splits(folder / "trees", split_trees, tree_features(rollouts=config.tree_rollouts))
    rows = make_label_rows(problems, light_trees, config)
    _check_rows(rows.train, rows.validation, folder, config)
    split_rows = [("train", row) for row in rows.train] + [("validation", row) for row in rows.validation]
    num_rows = write_splits(folder / "paths", split_rows, label_features())
    write_readme(folder)
    statistics = {
        **label_statistics([row for _, row in split_rows]),
        "num_rows_by_split": num_rows,
        "num_dropped_rows": rows.num_dropped,
        "judge": judge_statistics(light_trees, threshold=config.consensus_threshold),
    }
    write_json(folder / "statistics.json", statistics)
    write_json(folder / "rows.json", dataclasses.asdict(config))
    return statistics


def _check_rows(train: Sequence[Any], validation: Sequence[Any], folder: Path, config: LabelRowsConfig) -> None:
    if train:
        return
    if validation:
        raise ValueError(
            f"All {len(validation)} label rows of {folder} are held out by validation_share={config.validation_share}; "
            "there must be some to train on. Lower it, label more problems, or choose another seed."
        )
    raise ValueError(
        f"The trees in {folder} give no label row: every problem was solved always or never, or no label is left "
        "under the options of LabelRowsConfig. Label more problems, raise num_rollouts, or sample with another "
        "temperature."
    )


def write_splits(
    folder: Path, rows: Iterable[tuple[str, dict[str, Any]]], features: datasets.Features
) -> dict[str, int]:
    """Write rows to ``folder/{split}.parquet`` as they come, figures embedded.

    Args:
        folder: Made if absent; parquet files of splits without rows are removed from it.
        rows: Pairs of a split's name ("train" or "validation") and a row.
        features: Of the rows.

    Returns:
        Rows per split, splits without rows left out.
    """
    from datasets.arrow_writer import ParquetWriter

    folder.mkdir(parents=True, exist_ok=True)
    drafts = {split: folder / f"{split}.parquet.part" for split in SPLITS}
    writers: dict[str, ParquetWriter] = {}
    num_rows = dict.fromkeys(SPLITS, 0)
    try:
        with contextlib.ExitStack() as stack:
            for split, row in rows:
                if split not in writers:
                    writer = ParquetWriter(features=features, path=str(drafts[split]), embed_local_files=True)
                    writers[split] = stack.enter_context(writer)
                writers[split].write(features.encode_example(row))
                num_rows[split] += 1
            for writer in writers.values():
                writer.finalize()
        for split, draft in drafts.items():
            if split in writers:
                draft.replace(folder / f"{split}.parquet")
            else:
                (folder / f"{split}.parquet").unlink(missing_ok=True)
    finally:
        for draft in drafts.values():
            draft.unlink(missing_ok=True)
    return {split: count for split, count in num_rows.items() if count}


def write_readme(folder: Path) -> None:
    """Write (or correct) the ``configs`` metadata in the README.md of a folder; the rest of an existing card stays."""
    from huggingface_hub import DatasetCard

    path = folder / "README.md"
    card = DatasetCard.load(path) if path.exists() else DatasetCard(f"---\nconfigs: []\n---\n{_README}")
    card.data.configs = _configs(folder)
    card.save(path)


def _configs(folder: Path) -> list[dict[str, Any]]:
    """What is on disk, as the Hub's dataset metadata has it.

    The description holds a hash of the files: where a README names the configs, `load_dataset` (datasets 5.2) keys its
    cache by this metadata and the folder's name alone, and would give the rows of an older file of the same name.
    """
    configs = []
    for name in CONFIGS:
        files = [
            {"split": split, "path": f"{name}/{split}.parquet"}
            for split in SPLITS
            if (folder / name / f"{split}.parquet").exists()
        ]
        if files:
            digest = hashlib.sha256()
            for file in files:
                digest.update((folder / file["path"]).read_bytes())
            config = {"config_name": name, "description": f"sha256:{digest.hexdigest()[:16]}", "data_files": files}
            configs.append({**config, **({"default": True} if not configs else {})})
    return configs
