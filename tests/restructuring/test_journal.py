"""The journal of replies: one writer, texts of any kind, a torn line, and counts of what was new."""

import pytest

from mmprm_hf.errors import FolderInUseError
from mmprm_hf.restructuring import ReplyJournal
from mmprm_hf.restructuring.journal import Reply


def test_one_process_writes_a_journal(tmp_path):
    path = tmp_path / "replies.jsonl"
    with ReplyJournal(path) as journal:
        journal.add("a", Reply("文\u2028", "stop", 1, 2))
        with pytest.raises(FolderInUseError, match="in use by another run"):
            ReplyJournal(path)
    with ReplyJournal(path) as journal:
        assert journal.get("a") == Reply("文\u2028", "stop", 1, 2) and journal.get("b") is None


def test_a_torn_line_is_asked_for_again_and_only_new_replies_count(tmp_path):
    path = tmp_path / "replies.jsonl"
    with ReplyJournal(path) as journal:
        journal.add("a", Reply("one", "stop", 1, 2))
        journal.add("b", Reply("two", "length", 3, 4))
        assert journal.asked_now == {"num_replies": 2, "tokens_in": 4, "tokens_out": 6}
    path.write_bytes(path.read_bytes()[:-5])
    with ReplyJournal(path) as journal:
        assert journal.get("a") == Reply("one", "stop", 1, 2) and journal.get("b") is None and len(journal) == 1
        assert journal.asked_now["num_replies"] == 0
        journal.add("b", Reply("two", "stop"))
        assert journal.get("b") == Reply("two", "stop")


def test_a_broken_line_inside_is_named(tmp_path):
    path = tmp_path / "replies.jsonl"
    path.write_text('{"key": "a"}\nnot JSON\n{"key": "b"}\n')
    with pytest.raises(ValueError, match=r"Line 2 of .*replies\.jsonl is not JSON"):
        ReplyJournal(path)
    with pytest.raises(ValueError, match="Line 2"):  # the folder is free again
        ReplyJournal(path)
