"""Test problems whose facts were in training are counted by where their twin lies."""

from support.layout import import_recipe

from mmprm_hf.nano import make_problem

twins = import_recipe("nano", "twins")


def test_twins_of_stream_and_corpus_count_once_in_all_and_each_where_it_lies():
    in_stream, in_corpus, in_both, alone = (make_problem("triangle_angle", seed) for seed in (1, 2, 3, 4))
    grid, repeated = make_problem("grid_path", 1), make_problem("rectangle", 1)
    counts, has_twin = twins.count_twins(
        [in_stream, in_corpus, in_both, alone, grid],
        stream=[in_stream, in_both, grid, repeated, repeated],
        corpus=[in_corpus, in_both],
        grpo=[repeated, make_problem("rectangle", 2)],
    )
    assert has_twin == [True, True, True, False, True]
    assert (counts["num_twins"], counts["num_twins_in_stream"], counts["num_twins_in_corpus"]) == (4, 3, 2)
    assert counts["twins_by_family"] == {"triangle_angle": 3, "grid_path": 1}
    assert counts["grpo"] == {"num_problems": 2, "num_in_stream": 1}
