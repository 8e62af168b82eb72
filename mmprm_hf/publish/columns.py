"""What the columns of our datasets hold, in the words of their cards, which lie in ``templates/columns.json``."""

from .template_files import template_facts

PROBLEM_COLUMNS, PATH_COLUMNS, TREE_COLUMNS = (
    template_facts("columns.json")[config] for config in ("problems", "paths", "trees")
)
