"""ScoreStore: survives a crash in the middle of a line, refuses a broken file, writes each key once."""

import pytest

from mmprm_hf.scoring import RecentScores, ScoreStore


def test_scores_come_back_exactly(tmp_path):
    path = tmp_path / "deep" / "scores.jsonl"
    store = ScoreStore(path)
    store.put("a", (0.1 + 0.2, 1e-17))
    store.put("b", [1.0])
    store.put("a", (0.5,))  # a key keeps its first scores
    again = ScoreStore(path)
    assert (again.get("a"), again.get("b"), again.get("c")) == ((0.1 + 0.2, 1e-17), (1.0,), None)
    assert len(path.read_text().splitlines()) == 2


def test_a_torn_last_line_is_dropped_and_written_again(tmp_path, caplog):
    path = tmp_path / "scores.jsonl"
    ScoreStore(path).put("a", (0.5,))
    with path.open("a") as file:
        file.write('["b", [0.2')
    store = ScoreStore(path)
    assert store.get("b") is None and "was cut off" in caplog.text
    store.put("b", (0.25,))
    assert ScoreStore(path).get("b") == (0.25,)


def test_lines_that_are_not_scores_are_refused(tmp_path):
    path = tmp_path / "scores.jsonl"
    path.write_text('["a", [0.5]]\nnonsense\n["b", [0.5]]\n')
    with pytest.raises(ValueError, match=r"Line 2 of .* is not JSON"):
        ScoreStore(path)
    for line in ('{"a": [0.5]}', '["a", [null]]', "[1, [0.5]]", '["a", 0.5]'):
        path.write_text(line + "\n")
        with pytest.raises(ValueError, match="scores.jsonl contains .*, which is not a score, or no longer the one"):
            ScoreStore(path)


def test_a_changed_score_is_noticed_and_scores_of_earlier_versions_are_read(tmp_path):
    path = tmp_path / "scores.jsonl"
    path.write_text('["a", [0.5]]\n')
    store = ScoreStore(path)
    store.put("b", (0.25,))
    assert (store.get("a"), ScoreStore(path).get("b")) == ((0.5,), (0.25,))
    path.write_text(path.read_text().replace("0.25", "0.75"))
    with pytest.raises(ValueError, match=r"no longer the one that was written.*delete the line, or choose another"):
        ScoreStore(path)


def test_recent_scores_forget_what_was_asked_for_the_longest_ago():
    store = RecentScores(2)
    for key in "ab":
        store.put(key, (0.5,))
    assert store.get("a") == (0.5,)
    store.put("c", (0.5,))
    assert (len(store), store.get("b"), store.get("a")) == (2, None, (0.5,))
