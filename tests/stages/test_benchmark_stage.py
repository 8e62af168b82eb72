"""`mmprm evaluate answers`: nano problems in a benchmark's published form, solved once, scored again, resumed."""

from __future__ import annotations

import dataclasses
import json

import datasets
import pytest
from PIL import Image
from support.stub_server import StubServer
from transformers import pipeline
from typer.testing import CliRunner

from mmprm_hf.cli.program import app
from mmprm_hf.data import Problem
from mmprm_hf.evaluation import READERS
from mmprm_hf.files import lock_folder, read_jsonl, write_json, write_jsonl
from mmprm_hf.nano import POLICY_PATH, PRM_PATH
from mmprm_hf.nano.world import make_problem
from mmprm_hf.publish.reports import write_report
from mmprm_hf.rows import read_results
from mmprm_hf.stages import (
    BenchmarkData,
    Servers,
    benchmark_stage,
    evaluate_benchmark,
    evaluate_candidates,
    rescore_benchmark,
)
from mmprm_hf.stages.candidate_rows import PipelineSource, open_pipeline, shown_question, write_candidates
from mmprm_hf.training.best_of_n import read_candidate_sets

OPTIONS = {"num_candidates": 4, "max_new_tokens": 96, "seed": 3}
FAMILIES = ("clock", "bar_chart", "rectangle", "clock", "bar_chart")


@pytest.fixture(scope="module")
def nano():
    return open_pipeline(None, None)


@pytest.fixture(autouse=True)
def loaded_once(nano, monkeypatch):
    monkeypatch.setattr(benchmark_stage, "open_pipeline", lambda *_: nano)


@pytest.fixture
def data(tmp_path):
    """Seven rows in MathVision's form, five of which are problems."""
    rows = []
    for index, family in enumerate(FAMILIES):
        problem = make_problem(family, index)
        problem.figure().save(tmp_path / f"{index}.png")
        shared = {"image": f"{index}.png", "answer": problem.answer, "options": []}
        rows.append({"id": str(index), "question": problem.question, **shared})
    rows.insert(2, {**rows[0], "question": "Again?"})
    rows.append({"id": "blank", "question": " ", "image": "0.png", "answer": "1", "options": []})
    write_jsonl(tmp_path / "rows.jsonl", rows)
    return tmp_path / "rows.jsonl"


def run(data, output, num_problems=None, **options):
    call = {"options": OPTIONS, "batch_size": 2, "progress": False}
    which = BenchmarkData("mathvision", str(data), num_problems=num_problems)
    return evaluate_benchmark(which, output, **{**call, **options})


def rescore(data, candidates, output, num_problems=None, **options):
    which = BenchmarkData("mathvision", str(data), num_problems=num_problems)
    return rescore_benchmark(which, candidates, output, batch_size=2, progress=False, **options)


def test_one_command_from_rows_to_results(data, tmp_path):
    found = run(data, tmp_path / "out" / "results.json")
    assert read_results(tmp_path / "out" / "results.json") == found
    assert (found["benchmark"], found["policy"], found["prm"]) == (
        "mathvision",
        "nano policy (shipped)",
        "nano PRM (shipped)",
    )
    assert found["rows"] == {
        "num_rows": 7,
        "num_used": 5,
        "problems": {"the id comes twice": 1, "question is empty": 1},
    }
    drawn = {"temperature": 1.0, "top_p": 1.0, "top_k": 0}
    assert found["settings"] == {"data": "rows.jsonl", "aggregation": "min", **OPTIONS, **drawn}
    assert found["best_of_n"]["num_problems"] == 5 and found["best_of_n"]["metrics"]["oracle"]["value"] > 0
    assert [point["n"] for point in found["curves"]["sizes"]] == [1, 2, 4]
    assert found["diagnosis"]["num_problems"] == 5
    cost = found["cost"]["answers"]
    assert cost["majority_vote"]["tokens"] == pytest.approx(4 * cost["mean_pass_at_1"]["tokens"], abs=0.05)
    assert cost["best_of_n"]["seconds"] > cost["majority_vote"]["seconds"] > 0


def test_models_read_the_published_wording(data, tmp_path, nano, monkeypatch):
    run(data, tmp_path / "out" / "results.json", num_problems=2)
    question = make_problem("clock", 0).question
    assert read_jsonl(tmp_path / "out" / "candidates.jsonl")[0]["question"] == f"{question}\n"


def test_the_same_candidates_are_generated_once_and_extended(data, tmp_path, nano, monkeypatch):
    output = tmp_path / "out" / "results.json"
    run(data, output, num_problems=2)
    first = (tmp_path / "out" / "candidates.jsonl").read_bytes()
    whole = run(data, output)
    assert (tmp_path / "out" / "candidates.jsonl").read_bytes().startswith(first)
    calls = []
    with monkeypatch.context() as patch:
        patch.setattr(type(nano), "__call__", lambda self, *given, **options: calls.extend(given))
        again = run(data, output)
    assert calls == [] and again == whole
    assert run(data, output, num_problems=2)["rows"]["num_rows"] == 2, "the first two of a folder that has more"
    with pytest.raises(ValueError, match=r"made with other settings \(seed: "):
        run(data, output, options={**OPTIONS, "seed": 4})
    rows = read_jsonl(data)
    for changed in ({"answer": "99999"}, {"image": "3.png"}):
        write_jsonl(data, [{**rows[0], **changed}, *rows[1:]])
        with pytest.raises(ValueError, match="is problem '0' with another text, figure or gold answer"):
            run(data, output)


def test_two_processes_do_not_evaluate_into_one_folder(data, tmp_path):
    with lock_folder(tmp_path / "out"), pytest.raises(ValueError, match="in use by another run.*wait for it to end"):
        run(data, tmp_path / "out" / "results.json")
    assert not (tmp_path / "out").exists()


def test_candidates_of_another_run_are_scored_by_another_prm(data, tmp_path, monkeypatch):
    first = run(data, tmp_path / "first" / "results.json")
    candidates = tmp_path / "first" / "candidates.jsonl"
    again = rescore(data, candidates, tmp_path / "again" / "results.json")
    rescored = read_jsonl(tmp_path / "again" / "candidates.jsonl")
    for row, other in zip(read_jsonl(candidates), rescored, strict=True):
        assert (row.get("chosen"), row["outcome"], row.get("error")) == (
            other.get("chosen"),
            other["outcome"],
            other.get("error"),
        )
        for one, two in zip(row["candidates"], other["candidates"], strict=True):
            assert (one["steps"], one["verdict"], one["text"]) == (two["steps"], two["verdict"], two["text"])
            assert (one["step_scores"] or ()) == pytest.approx(two["step_scores"] or (), abs=1e-5)
    assert again["best_of_n"] == first["best_of_n"] and again["rows"] == first["rows"]
    assert again["settings"]["num_candidates"] == 4 and again["settings"]["candidates"] == "candidates.jsonl"
    generate = [found["cost"]["seconds"]["generate"] for found in (first, again)]
    assert generate[0] == generate[1], "what generating cost is known from the first run"

    class Backwards:
        """Scores that grow where the shipped PRM's shrink, and a problem that it cannot be shown."""

        def score_many(self, problems, candidates):
            if any("rectangle" in problem.question for problem in problems):
                raise ValueError("no rectangles")
            return [
                [type(c)(**{**vars(c), "step_scores": tuple(0.01 for _ in c.steps)}) for c in found]
                for found in candidates
            ]

    monkeypatch.setattr(benchmark_stage.PRMScorer, "from_pretrained", lambda prm: Backwards())
    other = rescore(data, candidates, tmp_path / "other" / "results.json", prm="you/prm")
    assert other["prm"] == "you/prm" and other["rows"]["problems"]["no rectangles"] == 1
    assert other["rows"]["num_used"] == 4, "only the problem that cannot be shown goes without"
    scores = [
        c["step_scores"] for row in read_jsonl(tmp_path / "other" / "candidates.jsonl") for c in row["candidates"]
    ]
    assert {score for found in scores for score in found or ()} == {0.01}


class ByLength:
    """A PRM of another kind: a step's score falls with its length."""

    def score_many(self, problems, candidates):
        return [
            [dataclasses.replace(c, step_scores=tuple(1 / (1 + len(s)) for s in c.steps) or None) for c in found]
            for found in candidates
        ]


def test_figures_that_are_not_files_are_kept_as_they_are(tmp_path):
    """A dataset brings pixels: a report shows them, made smaller, and training reads them without loss."""
    problem = make_problem("clock", 0)
    Image.effect_noise((1000, 500), 80).convert("RGB").save(tmp_path / "photo.jpg", quality=70)
    photo = (tmp_path / "photo.jpg").read_bytes()
    features = datasets.Features(
        {name: datasets.Value("string") for name in ("id", "question", "answer")}
        | {"images": datasets.List(datasets.Image())}
    )
    images = [problem.figure(), {"bytes": photo, "path": None}]
    row = {"id": "a", "question": problem.question, "answer": problem.answer, "images": images}
    (tmp_path / "data").mkdir()
    datasets.Dataset.from_list([row], features=features).to_parquet(tmp_path / "data" / "test-0.parquet")
    which, output = BenchmarkData("mm_k12", str(tmp_path / "data")), tmp_path / "out" / "results.json"
    options = {"num_candidates": 2, "max_new_tokens": 8}
    first = evaluate_benchmark(which, output, options=options, progress=False)
    candidates = tmp_path / "out" / "candidates.jsonl"
    (written,) = read_jsonl(candidates)
    drawing, photograph = [tmp_path / "out" / name for name in written["figures"]]
    assert Image.open(drawing).convert("RGB").tobytes() == problem.figure().convert("RGB").tobytes()
    assert photograph.suffix == ".jpg" and photograph.read_bytes() == photo
    page = write_report(output, tmp_path / "page.html").read_text()
    assert page.count("data:image/png;base64") >= 1 and page.count("data:image/jpeg;base64") == 1
    assert 'width="640" height="320"' in page
    (candidate_set,) = read_candidate_sets(candidates)
    assert candidate_set.problem.images == (str(drawing), str(photograph))
    rescore_benchmark(which, candidates, tmp_path / "again" / "results.json", progress=False)
    assert all((tmp_path / "again" / name).is_file() for name in written["figures"]) and first["settings"]["split"]


def test_pixels_without_a_file_are_written_without_loss(tmp_path, nano):
    """Problems made in code hold images of any mode."""
    shades = Image.effect_noise((700, 300), 90)

    class Problems(list):
        ids = ["a"]

    problem = Problem("a", "How long?", (shades,), answer="1")
    source = PipelineSource(nano, {"num_candidates": 1, "max_new_tokens": 4}, 1, shown_question)
    write_candidates(Problems([problem]), tmp_path, {}, lambda: source, progress=False)
    (row,) = read_jsonl(tmp_path / "candidates.jsonl")
    with Image.open(tmp_path / row["figures"][0]) as written:
        assert written.format == "PNG" and written.tobytes() == shades.tobytes()


def test_one_run_at_a_time_writes_to_a_folder(data, tmp_path):
    with lock_folder(tmp_path / "out"), pytest.raises(ValueError, match="out' is in use by another run"):
        run(data, tmp_path / "out" / "results.json")
    assert not (tmp_path / "out" / "candidates.jsonl").exists()
    run(data, tmp_path / "out" / "results.json", num_problems=1)


def test_any_scorer_is_a_prm(data, tmp_path, monkeypatch):
    first = run(data, tmp_path / "first" / "results.json")
    candidates = tmp_path / "first" / "candidates.jsonl"
    again = rescore(data, candidates, tmp_path / "again" / "results.json", prm=ByLength())
    monkeypatch.setattr(benchmark_stage, "open_pipeline", open_pipeline)
    solved = run(data, tmp_path / "solved" / "results.json", prm=ByLength())
    assert first["prm"] == "nano PRM (shipped)" and again["prm"] == "ByLength" == solved["prm"]
    assert solved["best_of_n"] == again["best_of_n"], "solved with it or scored by it afterwards"
    row = read_jsonl(tmp_path / "solved" / "candidates.jsonl")[0]["candidates"][0]
    assert row["step_scores"] == [1 / (1 + len(step)) for step in row["steps"]]


def test_candidates_of_other_problems_are_refused(data, tmp_path):
    run(data, tmp_path / "first" / "results.json", num_problems=2)
    candidates = tmp_path / "first" / "candidates.jsonl"
    with pytest.raises(ValueError, match="have no problem '1', row 1 of the benchmark|have no problem '2'"):
        rescore(data, candidates, tmp_path / "again" / "results.json")
    assert not (tmp_path / "again").exists()
    rows = read_jsonl(candidates)
    write_jsonl(tmp_path / "changed.jsonl", [{**rows[0], "question": "Another?"}, *rows[1:]])
    with pytest.raises(ValueError, match=r"has another text in the candidates \('Another\?'\)"):
        rescore(data, tmp_path / "changed.jsonl", tmp_path / "again" / "results.json", num_problems=2)
    with pytest.raises(ValueError, match="first' was made with other settings"):
        rescore(data, candidates, tmp_path / "first" / "results.json", num_problems=2)
    assert read_jsonl(candidates) == rows


def test_what_is_refused(data, tmp_path):
    with pytest.raises(ValueError, match="Name the results file, such as .*results.json"):
        run(data, tmp_path / "out")
    with pytest.raises(ValueError, match="needs independent candidates"):
        run(data, tmp_path / "out" / "results.json", options={"strategy": "beam_search"})
    with pytest.raises(ValueError, match="Unknown benchmark 'x'. Choose one of own, mm_k12"):
        evaluate_benchmark(BenchmarkData("x", str(data)), tmp_path / "r.json", options={})
    write_jsonl(tmp_path / "bad.jsonl", [{"id": "a", "question": "", "answer": "1"}])
    with pytest.raises(ValueError, match="Name the results file, such as .*r.json"):
        run(data, tmp_path / "r.txt")
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(ValueError, match="Name the results file, such as .*folder.json/results.json"):
        run(data, tmp_path / "folder.json")
    with pytest.raises(
        ValueError, match=r"no problem with candidates and a gold answer in .*: \{'question is empty': 1"
    ):
        run(tmp_path / "bad.jsonl", tmp_path / "bad" / "results.json")


def test_scoring_again_goes_on_and_spares_other_runs(data, tmp_path, monkeypatch):
    run(data, tmp_path / "first" / "results.json")
    candidates, calls, is_cut = tmp_path / "first" / "candidates.jsonl", [], True

    class Counting(ByLength):
        def score_many(self, problems, candidates):
            calls.extend(problem.id for problem in problems)
            if is_cut and len(calls) > 2:
                raise KeyboardInterrupt
            return super().score_many(problems, candidates)

    prm = Counting()
    with pytest.raises(KeyboardInterrupt):
        rescore(data, candidates, tmp_path / "again" / "results.json", prm=prm)
    kept = read_jsonl(tmp_path / "again" / "candidates.jsonl")
    assert len(kept) >= 2
    calls.clear()
    is_cut = False
    found = rescore(data, candidates, tmp_path / "again" / "results.json", prm=prm)
    assert not {row["problem_id"] for row in kept} & set(calls), "what is scored is not scored again"
    assert found["rows"]["num_used"] == 5
    before = candidates.read_bytes()
    with pytest.raises(ValueError, match="made with other settings"):
        rescore(data, tmp_path / "again" / "candidates.jsonl", tmp_path / "first" / "results.json")
    assert candidates.read_bytes() == before


def test_moved_data_and_candidates_are_the_same_run(data, tmp_path):
    candidates, output = tmp_path / "first" / "candidates.jsonl", tmp_path / "again" / "results.json"
    run(data, tmp_path / "first" / "results.json", num_problems=2)
    rescore(data, candidates, output, num_problems=2)
    rows = (tmp_path / "again" / "candidates.jsonl").read_bytes()
    data, candidates = data.rename(tmp_path / "moved.jsonl"), candidates.rename(tmp_path / "moved_candidates.jsonl")
    (tmp_path / "first" / "config.json").rename(tmp_path / "config.json")
    rescore(data, candidates, output, num_problems=2)
    assert (tmp_path / "again" / "candidates.jsonl").read_bytes() == rows
    for name in ("rows.jsonl", "rows.json", "rows.csv.gz", "rows.parquet"):
        assert BenchmarkData("mm_k12", f"/deep/{name}").settings("min")["data"] == name
        assert "split" not in BenchmarkData("mm_k12", name).settings("min"), "a file has no splits"


def test_scoring_again_judges_anew(data, tmp_path):
    """A corrected gold answer is taken from the benchmark, not from the candidates' run."""
    run(data, tmp_path / "first" / "results.json")
    rows = read_jsonl(data)
    write_jsonl(data, [{**row, "answer": "99999"} if row["answer"] else row for row in rows])
    found = rescore(data, tmp_path / "first" / "candidates.jsonl", tmp_path / "again" / "results.json")
    assert found["best_of_n"]["metrics"]["oracle"]["value"] == 0.0
    assert {row["answer"] for row in read_jsonl(tmp_path / "again" / "candidates.jsonl")} == {"99999", None}
    assert found["prm"] == "nano PRM (shipped)" and found["policy"] == "nano policy (shipped)"


def test_a_served_policy(data, tmp_path, monkeypatch):
    """The policy behind a server; the PRM here. Steps of a clock, so that the rectangles come out wrong."""
    monkeypatch.setattr(benchmark_stage, "open_pipeline", open_pipeline)

    def solver(messages, seed):
        return "<step>A=22</step><step>B=61</step><answer>83</answer>"

    with StubServer(solver) as server:
        servers = Servers(server.url)
        found = run(data, tmp_path / "out" / "results.json", prm=str(PRM_PATH), servers=servers, num_problems=2)
    assert found["settings"]["engine"] == server.url and found["best_of_n"]["num_candidates"] == 4
    rows = read_jsonl(tmp_path / "out" / "candidates.jsonl")
    assert {(tuple(c["steps"]), len(c["step_scores"])) for row in rows for c in row["candidates"]} == {
        (("A=22", "B=61"), 2)
    }


def test_a_search_saved_with_the_policy_is_no_best_of_n(data, tmp_path, monkeypatch):
    """Options that a saved pipeline brings along must not make the candidates depend on the PRM."""
    models = {"model": str(POLICY_PATH), "prm": str(PRM_PATH)}
    saved = pipeline("generate-and-rerank", **models, strategy="beam_search", beam_width=2)
    monkeypatch.setattr(benchmark_stage, "open_pipeline", lambda *_: saved)
    found = run(data, tmp_path / "saved" / "results.json")
    monkeypatch.setattr(benchmark_stage, "open_pipeline", open_pipeline)
    assert found["best_of_n"] == run(data, tmp_path / "plain" / "results.json")["best_of_n"]


def test_a_server_is_named_without_credentials(data, tmp_path):
    servers = Servers("http://user:secret@127.0.0.1:9/v1")
    found = run(data, tmp_path / "out" / "results.json", policy="served", prm="you/prm", servers=servers)
    assert found["settings"]["engine"] == "http://127.0.0.1:9/v1" and found["policy"] == "served"
    written = (tmp_path / "out" / "config.json").read_text() + (tmp_path / "out" / "results.json").read_text()
    assert "secret" not in written


def test_a_candidates_file_knows_its_run(data, tmp_path):
    run(data, tmp_path / "out" / "results.json", num_problems=2)
    found = evaluate_candidates(tmp_path / "out" / "candidates.jsonl", aggregation="mean")
    assert found["benchmark"] == "mathvision" and found["settings"]["num_candidates"] == 4
    assert found["best_of_n"]["aggregation"] == "mean" == found["settings"]["aggregation"]


FORMS = {
    "own": lambda q, a, n: ({"id": n, "question": q, "answer": a, "image": f"{n}.png"}, q),
    "mm_k12": lambda q, a, n: ({"id": n, "question": q, "answer": a, "image": f"{n}.png"}, q),
    "olympiadbench": lambda q, a, n: (
        {"id": int(n), "context": "Look.", "question": q, "final_answer": [a], "unit": None, "image_1": f"{n}.png"},
        f"Look.\n{q}",
    ),
    "mathvista": lambda q, a, n: (
        {"pid": n, "query": f"Hint: solve.\nQuestion: {q}", "question": q, "answer": a, "image": f"{n}.png"},
        f"Hint: solve.\nQuestion: {q}",
    ),
    "mathverse": lambda q, a, n: (
        {"sample_index": n, "query_cot": f"Question: {q}", "question": q, "answer": a, "image": f"{n}.png"},
        f"Question: {q}",
    ),
    "mathvision": lambda q, a, n: (
        {"id": n, "question": q, "options": [], "answer": a, "image": f"{n}.png"},
        f"{q}\n",
    ),
}
"""A row in each benchmark's published form, and the text that models read of it."""


@pytest.mark.parametrize("name", FORMS)
def test_every_benchmark_through_the_program(name, tmp_path):
    rows, texts = [], []
    for index, family in enumerate(FAMILIES[:3]):
        problem = make_problem(family, index)
        problem.figure().save(tmp_path / f"{index}.png")
        row, text = FORMS[name](problem.question, problem.answer, str(index))
        rows.append(row)
        texts.append(text)
    figure = next(column for column in rows[2] if column.startswith("image"))
    key, other_id = next(iter(rows[2])), 9 if name == "olympiadbench" else "9"
    write_jsonl(tmp_path / "rows.jsonl", [*rows, {**rows[2], key: other_id, figure: "gone.png"}])
    output = tmp_path / "out" / "results.json"
    arguments = ["--benchmark", name, "--data", tmp_path / "rows.jsonl", "--num-candidates", 2, "--max-new-tokens", 96]
    result = program("answers", *arguments, "-o", output)
    assert result.exit_code == 0, result.output
    found = json.loads(output.read_text())
    assert found["rows"] == {"num_rows": 4, "num_used": 3, "problems": {"Image … does not exist": 1}}
    written = read_jsonl(tmp_path / "out" / "candidates.jsonl")
    assert [row["question"] for row in written[:3]] == texts
    verdicts = {candidate["verdict"] for row in written for candidate in row["candidates"]}
    assert verdicts <= {"correct", "incorrect"} and found["best_of_n"]["num_candidates"] == 2


def program(*arguments):
    return CliRunner().invoke(app, ["evaluate", *map(str, arguments)])


def test_there_is_a_form_for_every_benchmark():
    assert FORMS.keys() == READERS.keys()


def test_by_the_program(data, tmp_path):
    output = tmp_path / "out" / "results.json"
    write_json(tmp_path / "options.yaml", {"num_candidates": 4, "max_new_tokens": 96, "benchmark": "mathvision"})
    arguments = ["--data", data, "--config", tmp_path / "options.yaml"]  # JSON is YAML
    result = program("answers", *arguments, "-o", output)
    assert result.exit_code == 0, result.output
    for words in ("PRM best-of-4", "N = 2", "minus majority vote", "Headroom", "Rows: 5 of 7 used"):
        assert words in result.stdout
    assert "1 x the id comes twice" in result.stdout
    candidates = ["--candidates", tmp_path / "out" / "candidates.jsonl", "-o", tmp_path / "again" / "results.json"]
    again = program("answers", *arguments, *candidates, "--json")
    assert json.loads(again.stdout)["best_of_n"] == json.loads(output.read_text())["best_of_n"], again.output
    refused = program("answers", *arguments, *candidates, "--seed", 1, "--policy", "x")
    assert refused.exit_code == 2
    assert "--policy, --seed would be ignored with --candidates: nothing is generated" in " ".join(
        refused.stderr.split()
    )
