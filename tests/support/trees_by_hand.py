"""The tree and problem that the tests of labels, rows and files share."""

from PIL import Image

from mmprm_hf.data import Node, Problem, SearchTree

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
