"""The tables of README.md and docs/, made from committed results.

    python docs/tables.py            # writes each table between <!-- table: NAME --> and <!-- /table -->
    python docs/tables.py --check    # exit code 1 where a table is not what the results say

A table is a function below, found by its name. `tests/test_pages.py` holds that all are up to date, and
`docs/ledger.yaml` does the same for the numbers in sentences.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
NANO, BENCH = "recipes/nano/results", "recipes/bench/results.json"
BLOCK = re.compile(r"(<!-- table: (\w+) -->\n)(.*?)(<!-- /table -->)", flags=re.DOTALL)
METRICS = {
    "greedy": "greedy",
    "random_distinct": "random among the distinct candidates",
    "mean_pass_at_1": "mean pass@1 (temperature 1)",
    "majority_vote": "majority vote@16",
    "best_of_n": "**PRM best-of-16**",
    "weighted_vote": "**PRM-weighted vote@16**",
    "oracle": "oracle pass@16",
}


def read(path: str) -> Any:
    """A committed JSON file."""
    return json.loads((ROOT / path).read_text(encoding="utf-8"))


def bench(name: str) -> dict[str, Any]:
    """One row of the performance table."""
    return next(row for row in read(BENCH) if row["name"] == name)


def percent(share: float) -> str:
    """A share in percent with one decimal."""
    return f"{100 * share:.1f}"


def interval(entry: dict[str, float]) -> str:
    """The 95 % interval of a metric, in percent."""
    return f"{percent(entry['ci_low'])} to {percent(entry['ci_high'])}"


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def readme() -> str:
    """All problems, and the families with a planted misconception against the others."""
    metrics, sets = read(f"{NANO}/evaluate.json")["best_of_n"]["metrics"], read(f"{NANO}/by_family.json")["sets"]
    planted, others = sets["planted misconception"], sets["others"]
    header = ["answer chosen by", "all 500", "95 % interval"]
    header += [f"{planted['num_problems']} of three families", f"the other {others['num_problems']}"]
    rows = []
    for name in ("greedy", "mean_pass_at_1", "majority_vote", "best_of_n", "weighted_vote", "oracle"):
        cells = [percent(group["metrics"][name]) for group in (planted, others)]
        rows.append([METRICS[name], percent(metrics[name]["value"]), interval(metrics[name]), *cells])
    return markdown(header, rows)


def nano() -> str:
    """The best-of-N table of the shipped models."""
    metrics = read(f"{NANO}/evaluate.json")["best_of_n"]["metrics"]
    rows = [[words, percent(metrics[name]["value"]), interval(metrics[name])] for name, words in METRICS.items()]
    return markdown(["answer chosen by", "accuracy", "95 % interval"], rows)


def families() -> str:
    """The best-of-N table by family."""
    results = read(f"{NANO}/by_family.json")
    names = ("mean_pass_at_1", "majority_vote", "best_of_n", "weighted_vote", "oracle")
    header = ["family", "problems", "mean pass@1", "majority vote", "best-of-16", "weighted vote", "oracle"]
    groups = [*results["families"].items(), *((f"*{name}*", group) for name, group in results["sets"].items())]
    return markdown(
        header,
        [
            [name, str(group["num_problems"]), *(percent(group["metrics"][metric]) for metric in names)]
            for name, group in groups
        ],
    )


def stages() -> str:
    """What each stage adds."""
    prms = read(f"{NANO}/stages.json")["prms"]
    return markdown(
        ["PRM", "step AUROC", "prefix AUROC", "best-of-16", "weighted vote"],
        [
            [
                name,
                f"{row['step_auroc']:.3f}",
                f"{row['prefix_auroc']:.3f}",
                *(percent(row["metrics"][metric]["value"]) for metric in ("best_of_n", "weighted_vote")),
            ]
            for name, row in prms.items()
        ],
    )


def label_mappings() -> str:
    """One set of labels, trained on in every way."""
    prms = read(f"{NANO}/label_mappings.json")["prms"]
    words = {
        "no labels": "no labels (the policy at its markers)",
        "shipped PRM": "(the shipped PRM, from the judge, other labels)",
    }
    rows = []
    for name, row in prms.items():
        best, weighted = (row["metrics"][metric] for metric in ("best_of_n", "weighted_vote"))
        cells = [f"{percent(entry['value'])} ({interval(entry)})" for entry in (best, weighted)]
        rows.append([words.get(name, name), f"{row['step_auroc']:.3f}", f"{row['prefix_auroc']:.3f}", *cells])
    majority = prms["no labels"]["metrics"]["majority_vote"]
    rows.append(["(majority vote)", "", "", f"{percent(majority['value'])} ({interval(majority)})", ""])
    return markdown(["labels", "AUROC, step", "AUROC, step and all before", "best-of-16", "weighted vote"], rows)


def strategies() -> str:
    """Strategies by N."""
    results = read(f"{NANO}/strategies.json")
    sizes = sorted({row["n"] for row in results["rows"]})
    names = list(dict.fromkeys(row["strategy"] for row in results["rows"]))
    cells = {
        (row["strategy"], row["n"]): f"{percent(row['accuracy'])} ({interval(row)}), {row['num_tokens']:.0f} tokens"
        for row in results["rows"]
    }
    return markdown(
        ["strategy", *(f"N = {size}" for size in sizes)],
        [[name, *(cells[name, size] for size in sizes)] for name in names],
    )


def real_problems() -> str:
    """The nano models on problems of another world."""
    words = {
        "mathvision": "MathVision, figures up to 8,526 px high",
        "gaokao_mm_math": "GAOKAO-MM, Chinese, up to several figures",
    }
    rows = []
    for name, found in read(f"{NANO}/real_problems.json").items():
        outcomes = found["outcomes"]
        answered = f"{outcomes['answered']} ({found['verdicts']['incorrect']} of them wrong)"
        cells = [answered, str(outcomes["no_complete_candidate"]), str(outcomes["not_shown"])]
        rows.append([f"{found['num_problems']:,} of {words[name]}", *cells])
    return markdown(["problems, nano models, 16 candidates", "answered", "no complete candidate", "not shown"], rows)


def label_quality() -> str:
    """Label quality of every search at the larger budget."""
    results = read(f"{NANO}/label_quality.json")["budgets"]["160"]
    header = ["search", "settings", "rollouts", "labels a problem", "steps labelled", "AUROC", "error", "bias"]
    header += ["first error: wrong", "right", "F1"]
    rows = []
    for name, row in results.items():
        settings = {key: value for key, value in row["settings"].items() if key != "max_rollouts"}
        rows.append(
            [
                name,
                ", ".join(f"`{key}: {json.dumps(value)}`" for key, value in settings.items()).replace('"', ""),
                f"{row['rollouts']:.0f}",
                f"{row['labels']:.1f}",
                f"{100 * row['labelled_steps']:.0f} %",
                f"{row['auroc']:.3f}",
                f"{row['mean_absolute_error']:.3f}",
                f"{row['mean_error']:+.3f}",
                f"{100 * row['first_error_wrong']:.0f} %",
                f"{100 * row['first_error_right']:.0f} %",
                percent(row["first_error_f1"]),
            ]
        )
    return markdown(header, rows)


def label_quality_reading() -> str:
    """What free samples are worth, in a sentence."""
    rows = read(f"{NANO}/label_quality.json")["budgets"]["160"]
    pairs = [
        (rows["OmegaPRM, own estimates"], rows["OmegaPRM, fresh only"]),
        (rows["flat MC"], rows["flat MC, fresh only"]),
    ]
    shares = sorted(round(100 * free["rollouts"] / fresh["rollouts"]) for free, fresh in pairs)
    auroc = max(abs(free["auroc"] - fresh["auroc"]) for free, fresh in pairs)
    error = max(abs(free["mean_absolute_error"] - fresh["mean_absolute_error"]) for free, fresh in pairs)
    first = max(fresh["first_error_wrong"] - free["first_error_wrong"] for free, fresh in pairs)
    return (
        f"With free samples the labels are nearly the same (AUROC within {auroc:.3f}, errors of estimates within "
        f"{error:.3f}, first errors of wrong paths found up to {100 * first:.0f} points less often) for {shares[0]} to "
        f"{shares[1]} % of the rollouts; {rows['flat MC']['num_error_prefixes']} prefixes are behind the errors.\n"
    )


def answer_peers() -> str:
    """False verdicts on the pairs of other verifiers' test suites, beside math-verify alone."""
    results = read("recipes/answers/results/peers.json")
    num_labelled = results["num_labelled"]
    names = {"rules": "these rules", "math_verify": "math-verify alone"}
    header = [f"of {num_labelled:,} labelled pairs", "false CORRECT", "false INCORRECT", "UNDECIDED"]
    header += ["mean milliseconds", "slowest, seconds"]
    rows = []
    for judge, figures in results["judges"].items():
        counts = [f"{figures[f]} ({percent(figures[f] / num_labelled)} %)" for f in ("false_incorrect", "undecided")]
        times = [f"{1000 * figures['mean_seconds']:.1f}", f"{figures['max_seconds']:.2f}"]
        rows.append([names[judge], str(figures["false_correct"]), *counts, *times])
    return markdown(header, rows)


def answers_written() -> str:
    """Verdicts on pairs that were written without a look at the rules."""
    names = {
        "natural": "answers as chat models write them",
        "other_forms": "right answers in another form",
        "choices": "choice problems",
        "neighbours": "golds with one thing changed",
        "mentions": "sentences that mention the gold without asserting it",
    }
    groups = read("recipes/answers/results/written.json")["groups"]
    header = ["set", "pairs", "right", "false CORRECT", "false INCORRECT", "UNDECIDED"]
    rows = [
        [
            f"{row['set']}: {names[row['group']]}",
            *(f"{row[name]:,}" for name in ("num_pairs", "num_right", "false_correct", "false_incorrect", "undecided")),
        ]
        for row in groups
    ]
    return markdown(header, rows)


def kills() -> str:
    """Verbs killed at random moments and repeated."""
    rows = read("recipes/bench/reliability.json")["kills"]
    return markdown(
        ["verb", "kills", "seconds of a whole run", "seconds in all"],
        [[f"`{row['verb']}`", str(row["kills"]), f"{row['run_seconds']:.1f}", str(row["seconds"])] for row in rows],
    )


def growth() -> str:
    """How time grows with the input."""
    return markdown(
        ["what", "sizes", "seconds", "exponent"],
        [
            [
                row["detail"],
                " / ".join(f"{size:,}" for size in row["sizes"]),
                " / ".join(f"{seconds:.2f}" for seconds in row["seconds"]),
                f"{row['exponent']:.2f}",
            ]
            for row in read("recipes/bench/growth.json")
        ],
    )


def bench_scoring() -> str:
    """Scoring against the published method."""
    time, memory = bench("score_16_candidates"), bench("score_16_memory")
    tokens = re.search(r"([\d,]+) tokens become ([\d,]+)", time["detail"])
    return markdown(
        ["", "published method", "ours", "ratio"],
        [
            ["tokens through the decoder", tokens[1], tokens[2], ""],
            ["seconds", f"{time['baseline']:.2f}", f"{time['ours']:.2f}", f"{time['ratio']:.1f}"],
            [
                "peak memory above the loaded models, MiB",
                f"{memory['baseline']:,.0f}",
                f"{memory['ours']:.0f}",
                f"{memory['ratio']:.1f}",
            ],
        ],
    )


def bench_training() -> str:
    """Packed training against the same trainer unpacked."""
    rows = []
    for words, name in (
        ("5 (golden files of published MM-PRM, random weights)", "train_tree_golden"),
        ("32 (nano trees searched with many rollouts, nano PRM)", "train_tree_32_paths"),
    ):
        row = bench(name)
        rows.append([words, f"{row['baseline']:.0f}", f"{row['ours']:.0f}", f"{row['ratio']:.1f}"])
    return markdown(["solutions a problem", "unpacked, solutions a second", "packed", "ratio"], rows)


def render(text: str) -> str:
    """The text with every table made anew."""
    return BLOCK.sub(lambda match: f"{match[1]}{globals()[match[2]]()}{match[4]}", text)


def documents() -> list[Path]:
    """Everything that may hold a table."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="Write nothing; fail where a table is out of date.")
    args = parser.parse_args()
    outdated = []
    for path in documents():
        text = path.read_text(encoding="utf-8")
        if (made := render(text)) != text:
            outdated.append(path.relative_to(ROOT))
            if not args.check:
                path.write_text(made, encoding="utf-8")
    print(*(f"{path} {'is out of date' if args.check else 'written'}" for path in outdated), sep="\n")
    sys.exit(bool(outdated) and args.check)


if __name__ == "__main__":
    main()
