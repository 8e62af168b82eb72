"""What the columns of our datasets hold, in the words of their cards."""

PROBLEM_COLUMNS = {
    "id": "string; names the source and the source's own id",
    "images": "list of images in reading order, each with the bytes of its source's file",
    "question": "string",
    "options": "list of strings in letter order; empty where the answer is free, letters where the choices are drawn",
    "answer": "string; the letter of a choice, else the value",
    "answer_type": "string: `choice`, `number` or `text`; how an answer is checked",
    "subject": "string, as the source has it; null where it tells none",
    "grade": "int; null where the source tells none",
    "source": "string",
    "license": "string, the source's own; null where it is not known",
    "split_group": "string; problems of one group (variants of one another) are never on both sides",
}
PATH_COLUMNS = {
    "prompt": "string, the question",
    "completions": "list of strings, the steps",
    "labels": "list of floats in [0, 1], the estimate of each step; -100 where there is none",
    "label_counts": "list of [right, decided] rollouts behind each label",
    "label_sources": "list of strings: `estimate`, `bound` (settled by another step of the path), `judge_dropped`, "
    "`none`",
    "label_weights": "list of floats: 1 / the number of paths that share the labelled prefix",
    "images": "list of images",
    "problem_id": "string, `id` of the row in `problems`",
    "tree_id": "string, of the row in `trees` that the path is from",
    "path_id": "string",
}
TREE_COLUMNS = {
    "problem_id": "string, `id` of the row in `problems`",
    "problem_key": "string, hash of the problem's content",
    "tree_id": "string",
    "schema_version": "int",
    "config": "string, JSON: options of the search",
    "engine": "string, JSON: model and sampling",
    "nodes": "list of prefixes: parent, steps, right and decided rollouts, visits",
    "num_rollouts": "int",
    "num_undecided": "int, rollouts whose answer could not be judged",
    "num_incomplete": "int, rollouts without an answer",
    "rollouts": "list of rollouts: text, steps, answer, verdict, tokens",
}

__all__ = ["PATH_COLUMNS", "PROBLEM_COLUMNS", "TREE_COLUMNS"]
