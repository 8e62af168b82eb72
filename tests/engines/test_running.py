"""Coroutines run from plain code, from a notebook, and several that stand or fall together."""

import asyncio

import pytest

from mmprm_hf.engines import gather_or_cancel, run_async


async def three() -> int:
    return 3


def test_async_code_runs_inside_a_running_loop_too():
    async def notebook() -> int:
        return run_async(three())

    assert run_async(three()) == 3
    assert asyncio.run(notebook()) == 3


def test_the_first_error_cancels_the_other_calls_and_waits_for_their_end():
    ended = []

    async def long() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("long")

    async def broken() -> None:
        await asyncio.sleep(0)
        raise ValueError("broken")

    assert run_async(gather_or_cancel(three() for _ in range(2))) == [3, 3]
    with pytest.raises(ValueError, match="broken"):
        run_async(gather_or_cancel([long(), broken(), long()]))
    assert ended == ["long", "long"]
