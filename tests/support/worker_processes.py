"""Processes of formula workers, read from /proc: the pool's own bookkeeping is not trusted."""

from pathlib import Path


def children_of(pid: int) -> set[int]:
    """Live formula workers below `pid` (Linux)."""
    workers = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
            is_worker = b"formula_worker" in (stat.parent / "cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(parent) == pid and state != "Z" and is_worker:
            workers.add(int(stat.parent.name))
    return workers
