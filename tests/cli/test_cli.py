"""`mmprm` as a new user and as a script meet it: help, YAML, JSON, exit codes."""

import errno
import json
import re
import resource
import subprocess
import sys
import typing
from pathlib import Path

import pytest
import typer
from support.result_documents import best_of_n_document, candidate_rows
from typer.testing import CliRunner

from mmprm_hf import stages
from mmprm_hf.cli import app, evaluate_verbs, options, program, solve_verbs
from mmprm_hf.errors import RunStoppedError, UnknownNameError
from mmprm_hf.evaluation import READERS, STEP_BENCHMARKS
from mmprm_hf.files import lock_folder, write_jsonl
from mmprm_hf.nano import PRM_PATH
from mmprm_hf.nano.world import nano_problems
from mmprm_hf.rerank.candidates import STRATEGIES
from mmprm_hf.selection import AGGREGATIONS

VERBS = [
    *("demo", "rerank", "score", "evaluate", "app"),
    *("data", "curate", "restructure", "label", "check"),
    *("train", "convert"),
    *("report", "card", "push"),
]
EVALUATIONS = ["evaluate answers", "evaluate steps", "evaluate candidates", "evaluate nano"]
GROUPS = {"evaluate", "check"}


def run(*arguments, **kwargs):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], **kwargs)


@pytest.fixture(scope="module")
def nano(tmp_path_factory):
    """A nano problem, its figure as a file, and a right solution."""
    problem = nano_problems("test", 1)[0]
    folder = tmp_path_factory.mktemp("nano")
    problem.figure().save(folder / "figure.png")
    (folder / "solution.txt").write_text("\n".join(problem.solve()), encoding="utf-8")
    return problem, folder


def test_help_lists_every_verb_under_its_section_with_a_whole_sentence():
    result = run("--help")
    assert result.exit_code == 0
    lines = [line.strip() for line in result.output.splitlines()]
    assert [line.split()[0] for line in lines if line.split() and line.split()[0] in VERBS] == VERBS
    assert [line[:-1] for line in lines if line[:-1] in program.SECTIONS] == list(program.SECTIONS)
    assert "..." not in result.output.replace("[ARGS]...", "")


def test_help_of_a_verb_is_whole_sentences_about_every_flag():
    for verb in (*VERBS, *EVALUATIONS, "check labels"):
        result = run(*verb.split(), "--help")
        assert result.exit_code == 0
        command = typer.main.get_command(app)
        for name in verb.split():
            command = command.commands[name]
        for text in (command.help, *(parameter.help for parameter in command.params)):
            assert text and text.strip().endswith("."), (verb, text)
        if verb not in GROUPS:
            assert "--config" in result.output and ("--json" in result.output) == (verb != "app")


def test_the_help_of_evaluate_lists_its_four_verbs_in_whole_sentences():
    result = run("evaluate", "--help")
    lines = [line.strip() for line in result.output.splitlines()]
    names = [verb.split()[1] for verb in EVALUATIONS]
    assert [line.split()[0] for line in lines if line.split() and line.split()[0] in names] == names
    assert "..." not in result.output.replace("[ARGS]...", "")


def test_old_spellings_of_evaluate_name_the_new_command():
    for arguments, command in (
        (["--curves", "--diagnose", "-o", "r.json"], "nano"),
        (["--benchmark", "mm_k12", "--data", "x"], "answers"),
        (["--benchmark=mm_k12", "--candidates", "c.jsonl"], "answers"),
        (["-o", "r.json", "--config", "recipes/evaluation/mathvista.yaml"], "answers"),
        (["--steps", "processbench", "--data", "x"], "steps --benchmark NAME"),
        (["--candidates", "c.jsonl", "--curves"], "candidates FILE"),
    ):
        result = run("evaluate", *arguments)
        assert result.exit_code == 2 and result.stdout == ""
        words = f"this command is `mmprm evaluate {command}` now; see `mmprm evaluate --help`."
        assert words in " ".join(result.stderr.split()), arguments
    assert "Commands:" in run("evaluate").output, "no argument asks for help"


def test_help_and_the_version_import_no_torch():
    code = (
        "import sys; from mmprm_hf.cli import app\n"
        "try: app([sys.argv[1]])\n"
        "except SystemExit as end: assert end.code == 0\n"
        "assert not {'torch', 'transformers', 'datasets', 'rich'} & sys.modules.keys()"
    )
    for flag in ("--help", "--version"):
        subprocess.run([sys.executable, "-c", code, flag], check=True, stdout=subprocess.DEVNULL)


def test_no_verb_shows_the_help_and_a_misspelt_one_is_an_error():
    assert "Solve and score" in run().output
    result = run("rerak")
    assert result.exit_code == 2 and "Did you mean 'rerank'?" in result.output


def test_yaml_gives_defaults_and_flags_come_first(nano, tmp_path):
    problem, folder = nano
    config = tmp_path / "options.yaml"
    config.write_text(
        f"question: {json.dumps(problem.question)}\nimage: [{folder / 'figure.png'}]\n"
        "num-candidates: 3\nstrategy: weighted_vote\njson: true\n",
        encoding="utf-8",
    )
    result = run("rerank", "--config", config)
    assert result.exit_code == 0, result.output
    assert len(json.loads(result.stdout)["candidates"]) == 3
    result = run("rerank", "--num-candidates", 2, "--config", config)
    assert len(json.loads(result.stdout)["candidates"]) == 2


BAD_CONFIGS = [
    ("rerank", "strateg: dvts", "mmprm: Unknown option 'strateg' in options.yaml. Did you mean 'strategy'"),
    ("score", "color: always", "Unknown option 'color' in options.yaml. Choose one of question, solution, image, prm,"),
    ("label", "num_problem: 3", "Unknown option 'num_problem' in options.yaml. Did you mean 'num_problems'"),
    ("evaluate nano", "num_problem: 3", "Unknown option 'num_problem' in options.yaml. Did you mean 'num_problems'"),
    ("label", "max_rolouts: 3", "Unknown option 'max_rolouts' in options.yaml. Did you mean"),
    ("train", "learning_rat: 1", "Unknown option 'learning_rat' in options.yaml. Did you mean 'learning_rate'"),
    ("rerank", "- a list", "options.yaml contains a list; a configuration maps options to values"),
    ("rerank", "strategy: [a, b]", "strategy is a list in the configuration; the flag takes one value"),
    ("rerank", "num_candidates: {a: 1}", "num_candidates is a dict"),
    ("rerank", "num_candidates: true", "num_candidates is True in the configuration; the flag takes a value"),
    ("rerank", "json: perhaps", "Invalid value"),
    ("rerank", "seed: 1.5", "Invalid value"),
    ("rerank", "num_candidates: many", "Invalid value"),
    ("rerank", "a: [", "options.yaml is not YAML"),
]


def test_a_bad_configuration_is_a_usage_error(tmp_path):
    needed = {
        "rerank": ["--question", "?"],
        "score": ["--question", "?", "--solution", "-"],
        "train": ["--model", tmp_path, "--data", tmp_path, "--output", tmp_path / "out"],
        "label": ["--output", tmp_path / "out"],
        "evaluate nano": ["--output", tmp_path / "out"],
    }
    for verb, text, message in BAD_CONFIGS:
        (tmp_path / "options.yaml").write_text(text)
        result = run(*verb.split(), *needed[verb], "--config", tmp_path / "options.yaml")
        assert result.exit_code == 2, result.output
        assert message in " ".join(result.stderr.split()).replace(f"{tmp_path}/", ""), result.stderr
        assert result.stdout == "" and not (tmp_path / "out").exists()


def test_a_missing_configuration_is_a_usage_error():
    result = run("data", "--config", "no.yaml")
    assert result.exit_code == 2 and "no.yaml" in result.stderr


def failing(error):
    def fail(*_, **__):
        raise error

    return fail


def test_an_error_that_a_user_can_correct_is_one_line_and_an_exit_code(monkeypatch):
    for error, code, message in (
        (ValueError("Found a."), 1, "mmprm: Found a."),
        (FileNotFoundError(2, "No such file", "x"), 1, "mmprm: There is no file or folder 'x'. Check the path."),
        (RunStoppedError("The disk is full."), 1, "mmprm: The disk is full."),
        (OSError(errno.ENOSPC, "No space left on device", "x"), 1, "mmprm: 'x' cannot be written: the disk is full"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), 1, "mmprm: A file cannot be written: the disk is full"),
        (OSError(errno.EFBIG, "File too large"), 1, "mmprm: A file cannot be written: the disk is full"),
        (RuntimeError("write(): fd 3 failed with No space left on device"), 1, "mmprm: A file cannot be written: the"),
        (UnknownNameError("search", "mcts", ("flat_mc",)), 1, "mmprm: Unknown search 'mcts'. Choose one of flat_mc."),
        (KeyboardInterrupt(), 130, "mmprm: interrupted. What was written stays; the same command resumes"),
    ):
        monkeypatch.setattr(stages, "build_nano_data", failing(error))
        result = run("data")
        assert result.exit_code == code and message in result.stderr
        assert "Traceback" not in result.output and result.stdout == ""


def test_an_error_that_no_rule_foresaw_is_a_line_and_its_traceback_a_file(monkeypatch):
    monkeypatch.setattr(stages, "build_nano_data", failing(RuntimeError("a bug\nof many lines")))
    result = run("data")
    (line,) = result.stderr.splitlines()
    assert result.exit_code == 1 and line.startswith("mmprm: unexpected RuntimeError (a bug). An input has a form")
    log = Path(line.split("the traceback is in ")[1].split(";")[0])
    assert "RuntimeError: a bug\nof many lines" in log.read_text()
    log.unlink()
    for words in (("--debug", "data"), ("data", "--debug"), ("data", "--num-train", 2, "--debug", "-o", "never")):
        assert isinstance(run(*words).exception, RuntimeError), words
    result = run("data", "--num-train", "many")
    assert result.exit_code == 2


def test_a_dataset_for_which_there_is_no_room_is_named_and_not_half_there(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3_000, limits[1]))
    try:
        result = run("data", "--num-train", 4, "--output", tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert result.exit_code == 1 and "train.parquet could not be written whole: the disk is full" in result.stderr
    assert not (tmp_path / "train.parquet").exists()


def test_a_users_slip_is_a_sentence_that_names_it(nano, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "README.md").write_text("text")
    (tmp_path / "steps.txt").write_text("A=22")
    (tmp_path / "x.jsonl").write_text("")
    (tmp_path / "solved").mkdir()
    (tmp_path / "solved" / "train.jsonl").write_text('{"problem_id": "a", "candidates": []}\n')
    for words, message in (
        (("score", "--question", "q", "--solution", "none.txt"), "There is no file or folder 'none.txt'"),
        (
            ("score", "--question", "q", "--solution", "steps.txt", "--prm", "no/such"),
            "The PRM 'no/such' cannot be loaded",
        ),
        (("rerank", "--data", "none.jsonl", "-o", "out"), "There is no file 'none.jsonl'"),
        (("rerank", "--question", "q", "--policy", "nope"), "The policy 'nope' cannot be loaded"),
        (("rerank", "--question", "q", "--policy", PRM_PATH, "--prm", PRM_PATH), "is a PRM, not a policy"),
        (
            ("rerank", "--question", "q", "--engine", "foo"),
            "Found engine='foo'. The address of a server begins with http://",
        ),
        (
            ("rerank", "--data", "nano", "--num-problems", 1, "-o", "README.md"),
            "README.md' is a file, and a folder is needed there",
        ),
        (
            ("rerank", "--data", "nano", "-o", "out", "--num-candidates", 10**9),
            "num_candidates=1000000000 .* at most 100000",
        ),
        (("report", "none.json"), "There is no file 'none.json' here"),
        (("evaluate", "candidates", "none"), "There is no file or folder 'none'|none cannot be read: no such file"),
        (
            ("evaluate", "steps", "--benchmark", "prmbench", "--data", "none.jsonl", "--threshold", 0.5),
            "no file 'none.jsonl'",
        ),
        (
            ("train", "--model", PRM_PATH, "--data", "solved", "-o", "trained"),
            "solved has no column prompt; found .* `mmprm label` writes",
        ),
        (("train", "--model", "nope", "--data", "solved", "-o", "trained"), "solved has no column prompt"),
        (
            ("evaluate", "steps", "--benchmark", "visualprocessbench", "--data", "x", "--figures-root", "none"),
            "not a folder",
        ),
        (
            ("rerank", "--data", "x.jsonl", "-o", "out", "--allow-urls", "http://x.example/a"),
            "is not a host, such as example.com",
        ),
        (("rerank", "--data", "A" * 3000, "-o", "out"), "is too long"),
        (("evaluate", "candidates", "a/" * 800), "a/a/ cannot be read: no such file"),
        (("score", "--question", "q", "--solution", "a/" * 800), "There is no file or folder 'a/a/"),
    ):
        result = run(*words)
        assert result.exit_code in (1, 2) and re.search(message, result.stderr), (words, result.output)
        assert "Traceback" not in result.output and len(result.stderr) < 1500, words


def test_figures_are_fetched_from_the_hosts_that_a_user_names(tmp_path, monkeypatch):
    monkeypatch.setattr("mmprm_hf.stages.rerank_problems", lambda *_, **options: rules.append(options["rules"]) or {})
    monkeypatch.setattr("mmprm_hf.stages.format_summary", lambda _: "")
    (tmp_path / "x.jsonl").write_text("")
    rules, common = [], ["rerank", "--data", tmp_path / "x.jsonl", "--output", tmp_path]
    for flags in ([], ["a.example", "B.example:80"], ["public"]):
        result = run(*common, *(word for host in flags for word in ("--allow-urls", host)))
        assert result.exit_code == 0, result.output
    assert [rule.allow_urls for rule in rules] == [False, ("a.example", "B.example:80"), True]


def test_no_verb_writes_into_the_folder_of_its_data_or_beside_another_process(tmp_path):
    data, output = tmp_path / "data", tmp_path / "data" / "deep" / "out"
    data.mkdir()
    for words in (
        ("rerank", "--data", data, "-o", output),
        ("label", "--data", data, "-o", output),
        ("evaluate", "answers", "--benchmark", "mm_k12", "--data", data, "-o", output / "results.json"),
        ("curate", "--source", data, "-o", output),
        ("restructure", "--data", data, "--engine", "http://127.0.0.1:1", "-o", data),
        ("train", "--model", "none", "--data", data, "-o", output),
    ):
        result = run(*words)
        assert result.exit_code == 1 and "lies in the folder of the data" in result.stderr, (words, result.output)
    assert not list(data.iterdir())
    for words in (("curate", "--source", data), ("data", "--num-train", 1)):
        with lock_folder(tmp_path / "held"):
            result = run(*words, "-o", tmp_path / "held")
        assert result.exit_code == 1 and "is in use by another run" in result.stderr, (words, result.output)


def test_candidates_are_found_in_their_folder(tmp_path):
    run("rerank", "--data", "nano", "--num-problems", 2, "--num-candidates", 2, "-o", tmp_path, "--max-new-tokens", 60)
    result = run("evaluate", "candidates", tmp_path, "--output", tmp_path / "results.json")
    assert result.exit_code == 0 and (tmp_path / "results.json").exists()


def test_results_without_a_place_are_named_after_what_was_done(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("first", "second"):
        write_jsonl(tmp_path / folder / "candidates.jsonl", candidate_rows())
    for words, name in (
        (("first/candidates.jsonl",), "first"),
        (("second",), "second"),
        (("second", "--aggregation", "mean"), "second-mean"),
    ):
        path = Path("out/evaluate") / name / "results.json"
        result = run("evaluate", "candidates", *words)
        assert result.exit_code == 0 and path.exists() and f"numbers in {path}" in result.stdout
        assert result.stderr == ""
        again = run("evaluate", "candidates", *words)
        assert f"note: {path} is replaced; -o names another file" in again.stderr


def test_score_ranks_solutions_of_files_and_of_standard_input(nano):
    problem, folder = nano
    wrong = "\n".join(step.replace("=", "=9") for step in problem.solve())
    arguments = ["score", "--image", folder / "figure.png", "--question", problem.question]
    arguments += ["--solution", "-", "--solution", folder / "solution.txt"]
    result = run(*arguments, input=wrong)
    assert result.exit_code == 0, result.output
    assert result.stdout.rstrip().endswith("best: solution 2") and "\x1b[" not in result.stdout
    document = json.loads(run(*arguments, "--json", input=wrong).stdout)
    rows = document["solutions"]
    assert document["aggregation"] == "min" and all(row["score"] == min(row["step_scores"]) for row in rows)
    assert rows[1]["steps"] == list(problem.solve())


def test_bars_are_coloured_in_a_terminal_alone(nano, monkeypatch):
    problem, folder = nano
    arguments = ["score", "--image", folder / "figure.png", "--question", problem.question]
    arguments += ["--solution", folder / "solution.txt"]
    plain = run(*arguments, color=True).stdout
    assert "\x1b[" not in plain and "█" in plain
    monkeypatch.setattr(solve_verbs, "use_color", lambda: True)
    assert "\x1b[32m" in run(*arguments, color=True).stdout
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert options.use_color()
    monkeypatch.setenv("NO_COLOR", "1")
    assert not options.use_color()


def test_rerank_wants_one_problem_or_many():
    for arguments in ([], ["--question", "?", "--data", "nano"]):
        result = run("rerank", *arguments)
        assert result.exit_code == 2 and "give either --question (one problem) or --data (many)" in result.stderr
    assert "--data needs --output" in run("rerank", "--data", "nano").stderr


def test_what_belongs_to_one_problem_or_to_many_is_not_ignored(tmp_path):
    for flags in (["--output", tmp_path], ["--num-problems", 2], ["--split", "train"]):
        arguments = ["--question", "?", *flags]
        assert "--output, --num-problems and --split belong to --data" in run("rerank", *arguments).stderr
    result = run("rerank", "--data", "nano", "--output", tmp_path / "out", "--image", "a.png")
    assert result.exit_code == 2 and "--image belongs to --question" in result.stderr
    assert not (tmp_path / "out").exists()


def test_wrong_values_are_usage_errors_before_any_model_is_loaded():
    for flags in (
        ["--strategy", "beam"],
        ["--aggregation", "average"],
        ["--num-candidates", "0"],
        ["--batch-size", "0"],
        ["--num-problems", "-1"],
    ):
        result = run("rerank", "--data", "nano", "--output", "never", *flags)
        assert result.exit_code == 2 and "Invalid value" in result.stderr, flags


def test_the_choices_are_those_of_the_library():
    assert typing.get_args(options.Strategy) == STRATEGIES
    assert sorted(typing.get_args(options.Aggregation)) == sorted(AGGREGATIONS)
    assert typing.get_args(evaluate_verbs.AnswerBenchmark) == tuple(READERS)
    assert typing.get_args(evaluate_verbs.StepBenchmark) == tuple(STEP_BENCHMARKS)


def test_rerank_over_a_dataset_counts_outcomes(tmp_path):
    arguments = ["rerank", "--data", "nano", "--num-problems", 3, "--num-candidates", 2, "--output", tmp_path]
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("3 problems\n") and "candidates.jsonl" in result.stdout
    summary = json.loads(run(*arguments, "--json").stdout)
    assert summary["num_problems"] == sum(summary["outcomes"].values()) == 3


def test_json_of_the_small_verbs_is_all_there_is_on_standard_output(tmp_path):
    counts = json.loads(run("data", "--num-train", 2, "--num-test", 1, "--output", tmp_path / "d", "--json").stdout)
    assert (counts["train"], counts["test"]) == (2, 1)
    (tmp_path / "facts.json").write_text('{"kind": "dataset", "name": "x"}')
    output = json.loads(run("card", tmp_path / "facts.json", "--json").stdout)
    again = run("card", tmp_path / "facts.json")
    assert f"note: {tmp_path / 'README.md'} is replaced; -o names another file." in again.stderr
    assert output == {"output": str(tmp_path / "README.md")}
    result = run("push", tmp_path / "d", "me/x", "--kind", "dataset", "--dry-run", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["num_files"] == 4  # two splits, the card and its facts


def test_push_wants_one_name(tmp_path):
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n# x\n")
    for names in ([], ["me/x", "--repo", "me/x"]):
        result = run("push", tmp_path, *names, "--kind", "dataset", "--dry-run")
        assert result.exit_code == 2 and "name the repository once" in " ".join(result.stderr.split())
    result = run("push", "--kind", "dataset", "--repo", "me/x", tmp_path, "--dry-run")
    assert result.exit_code == 0 and "would go to the dataset me/x" in result.stdout


def test_push_refuses_in_words(tmp_path):
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\nhf_" + "a" * 34 + "\n")
    result = run("push", tmp_path, "me/x", "--kind", "model", "--dry-run")
    assert result.exit_code == 1 and "README.md" in result.stderr and result.stdout == ""


def test_the_app_says_what_it_needs_and_writes_a_space(tmp_path, monkeypatch):
    def absent(*_, **__):
        raise ImportError('pip install "gradio>=6.31"')

    monkeypatch.setattr("mmprm_hf.app.launch", absent)
    result = run("app")
    assert result.exit_code == 1 and 'mmprm: pip install "gradio>=6.31"' in result.stderr
    result = run("app", "--space", tmp_path, "--requirement", "mmprm_hf==9")
    assert result.exit_code == 0 and (tmp_path / "requirements.txt").read_text() == "mmprm_hf==9\n"


@pytest.fixture
def results(tmp_path):
    """Results of two evaluations as files."""
    paths = []
    for name in ("first", "second"):
        document = best_of_n_document(policy=None) | {"benchmark": name}
        paths.append(tmp_path / f"{name}.json")
        paths[-1].write_text(json.dumps(document), encoding="utf-8")
    return paths


def test_report_takes_one_results_file_or_several(results, tmp_path):
    for files in (results[:1], results):
        result = run("report", *files, "-o", tmp_path / "page.html", "--json")
        assert result.exit_code == 0, result.output
        assert json.loads(result.stdout) == {"output": str(tmp_path / "page.html")}
        assert ("side by side" in (tmp_path / "page.html").read_text(encoding="utf-8")) == (len(files) == 2)


def test_report_prints_or_writes_a_markdown_table(results, tmp_path):
    printed = run("report", *results, "--markdown")
    assert printed.exit_code == 0, printed.output
    assert "| second | 3 | 2 | 50.0 % (40.0 to 62.5) |" in printed.stdout
    table = tmp_path / "table.md"
    assert run("report", *results, "-o", table).stdout.strip() == f"wrote {table}"
    assert table.read_text(encoding="utf-8") == printed.stdout
    as_json = json.loads(run("report", *results, "--markdown", "--json").stdout)
    assert as_json == {"output": None, "markdown": printed.stdout}


def test_report_refuses_flags_and_files_that_do_not_fit(results, tmp_path):
    refused = run("report", *results, "--markdown", "-o", tmp_path / "page.html")
    assert refused.exit_code == 2 and "is not an .md file" in " ".join(refused.output.split())
    assert not (tmp_path / "page.html").exists()
    results[0].write_text('{"metrics": {}}', encoding="utf-8")
    refused = run("report", *results, "--markdown")
    assert refused.exit_code != 0 and "no schema_version" in " ".join((refused.output + str(refused.exception)).split())
