"""The tree and problem that the tests of labels, rows and files share, and rows without files."""

from collections import Counter

from PIL import Image

from mmprm_hf.data import Node, Problem, SearchTree
from mmprm_hf.labelling import LabelRowsConfig
from mmprm_hf.labelling.label_selection import iter_label_rows
from mmprm_hf.labelling.labelled_problems import LabelledProblems

# root 2/4 -- (a b) 1/4 -- (c d e) 1/1, a right solution
#                      \-- (f) 0/4 -- (g h) 0/1, a wrong solution with its first error at f
#          \- (i j) 0/1, a wrong solution nobody bisected
NODES = (
    Node("n0", None, (), 2, 4),
    Node("n1", 0, ("a", "b"), 1, 4),
    Node("n2", 1, ("c", "d", "e"), 1, 1),
    Node("n3", 1, ("f",), 0, 4),
    Node("n4", 3, ("g", "h"), 0, 1),
    Node("n5", 0, ("i", "j"), 0, 1),
)
TREE = SearchTree("p", NODES)
PROBLEM = Problem("p", "What is it?", (Image.new("RGB", (4, 4)),), answer="1")


def rows_by_split(problems, trees, **options):
    """Weighed rows by side of the split, and how many rows each rule dropped."""
    rows, num_dropped = {"train": [], "validation": []}, Counter()
    config = LabelRowsConfig(**options)
    for split, problem_rows in iter_label_rows(LabelledProblems(problems), trees, config, num_dropped):
        rows[split] += problem_rows
    return rows, num_dropped


def train_rows(problems, trees, **options):
    """Weighed rows on the train side."""
    return rows_by_split(problems, trees, **options)[0]["train"]
