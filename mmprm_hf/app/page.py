"""A page for trying a policy and a PRM: score a solution step by step, or solve a problem and rerank.

It holds no logic: it calls `PRMScorer` and ``pipeline("generate-and-rerank")``. Bad input becomes a visible message.
Gradio is an optional extra that is imported when a page is built; `Callbacks` works without it.
"""

from __future__ import annotations

import dataclasses
import importlib
import random
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import pipeline

from ..data import Candidate, Problem
from ..models import load_image
from ..nano import POLICY_PATH, PRM_PATH, Noise, foreign_problem_note, nano_problems
from ..publish import render_message, render_reranked, render_scored
from ..rerank import STRATEGIES
from ..selection import AGGREGATIONS, aggregate
from ..steps import solution_steps

if TYPE_CHECKING:
    import gradio
    from PIL import Image

MAX_CANDIDATES = 64  # one visitor must not occupy the models for hours
MAX_CHARACTERS = 20_000  # of a question or a solution
_NUM_EXAMPLES = 24
_INTRODUCTION = """# Step by step: a process reward model at work

A process reward model (PRM) reads a problem with its figures and scores **every step** of a solution with the \
probability that it is right. *Score a solution* shows the scores of steps you write; *Solve and rerank* lets a policy \
write candidates and takes the one whose steps score best."""
_PLACEHOLDER = '<p style="opacity:.6;padding:24px 4px">The result appears here.</p>'


@dataclasses.dataclass(frozen=True)
class Callbacks:
    """The functions behind the page's buttons; each returns what its outputs show.

    Args:
        rerank: A loaded ``pipeline("generate-and-rerank")``; its scorer serves the first tab.
        is_shipped_policy, is_shipped_prm: Whether the models are the nano ones, which know only the nano world.
    """

    rerank: Any
    is_shipped_policy: bool = False
    is_shipped_prm: bool = False

    def score(
        self, figures: Sequence[Any] | None, question: str, solution: str, aggregation: str
    ) -> tuple[str, dict[str, Any]]:
        """Return HTML and plain data of one solution in any step format; for bad input a message and its error."""
        try:
            return self._score(_figures(figures), question, solution, aggregation)
        except (ValueError, OSError) as error:
            return render_message(str(error)), {"error": str(error)}

    def _score(self, figures: list, question: str, solution: str, aggregation: str) -> tuple[str, dict[str, Any]]:
        _check_length(question, solution)
        aggregate((), aggregation)  # an unknown name fails before the model runs
        steps = solution_steps((solution or "").replace("\r\n", "\n"))
        problem = Problem(id="input", question=question or "", images=tuple(figures))
        (candidate,) = self.rerank.scorer.score(problem, [Candidate(steps=steps)])
        if candidate.step_scores is None:
            raise ValueError(
                "A step contains this PRM's step marker, which is a word of its vocabulary. Reword the step."
            )
        result = {
            "steps": list(steps),
            "step_scores": list(candidate.step_scores),
            "aggregation": aggregation,
            "score": aggregate(candidate.step_scores, aggregation),
            "note": foreign_problem_note([load_image(figure) for figure in figures], "scores")
            if self.is_shipped_prm
            else None,
        }
        return render_scored(result), result

    def solve(
        self,
        figures: Sequence[Any] | None,
        question: str,
        num_candidates: int | None,
        strategy: str,
        aggregation: str,
        seed: int | None,
    ) -> tuple[str, dict[str, Any]]:
        """Return HTML and the pipeline's output for one problem; for bad input a message and its error."""
        try:
            images = _figures(figures)
            _check_length(question)
            if num_candidates is None or seed is None:
                raise ValueError(
                    "Found an empty field where a number belongs. Give the number of candidates and a seed."
                )
            if num_candidates > MAX_CANDIDATES:
                raise ValueError(f"Found {num_candidates} candidates. This page writes at most {MAX_CANDIDATES}.")
            options = {"num_candidates": num_candidates, "strategy": strategy, "aggregation": aggregation}
            result = self.rerank(images=images, text=question or "", seed=seed, return_candidates=True, **options)
            shown, output = [load_image(image) for image in images], "answers and scores"
            note = foreign_problem_note(shown, output) if self.is_shipped_policy else None
            result = {**result, "strategy": strategy, "aggregation": aggregation, "note": note}
            return render_reranked(result), result
        except (ValueError, OSError) as error:
            return render_message(str(error)), {"error": str(error)}

    def example(self, number: int) -> tuple[list[Image.Image], str, str, int]:
        """Return a nano problem's figures and question, a solution with errors, and the next example's number."""
        nano = nano_problems("test", _NUM_EXAMPLES)[number % _NUM_EXAMPLES]
        solution = nano.solve(random.Random(number), Noise(misread=0.3, slip=0.3))
        return [nano.figure()], nano.question, "\n".join(solution), number + 1


def _figures(gallery: Sequence[Any] | None) -> list[Any]:
    """The figures of a gallery, which pairs each with a caption."""
    return [entry[0] if isinstance(entry, (tuple, list)) else entry for entry in gallery or ()]


def _check_length(*texts: str) -> None:
    """Refuse a text that is too long."""
    for text in texts:
        if len(text or "") > MAX_CHARACTERS:
            raise ValueError(f"Found a text of {len(text):,} characters. This page takes at most {MAX_CHARACTERS:,}.")


def _gradio() -> Any:
    """The gradio module, or an ImportError with the remedy."""
    try:
        return importlib.import_module("gradio")
    except ImportError as error:
        raise ImportError('The page needs Gradio, which is not installed: pip install "gradio>=6.31".') from error


def build_app(policy: str | Path | None = None, prm: str | Path | None = None) -> gradio.Blocks:
    """Return the page, ready to be launched.

    Args:
        policy, prm: Paths or hub ids; None takes the shipped nano models, or the PRM saved with the policy.

    Raises:
        ImportError: if Gradio is not installed.
        ValueError: if `prm` is not a PRM.
    """
    gr = _gradio()
    prm = PRM_PATH if policy is None and prm is None else prm  # another policy brings its own, or has none
    policy = str(policy or POLICY_PATH)
    rerank = pipeline("generate-and-rerank", model=policy, prm=None if prm is None else str(prm))
    callbacks = Callbacks(rerank, policy == str(POLICY_PATH), str(prm) == str(PRM_PATH))
    first = callbacks.example(0) if callbacks.is_shipped_prm else (None, "", "", 0)
    with gr.Blocks(title="mmprm", analytics_enabled=False) as page:
        gr.Markdown(_INTRODUCTION)
        with gr.Tab("Score a solution"):
            _score_tab(gr, callbacks, first)
        with gr.Tab("Solve and rerank"):
            _solve_tab(gr, callbacks, first)
    return page


def _problem_inputs(gr: Any, figures: list | None, question: str) -> tuple[Any, Any]:
    """Inputs for figures and question, with their first content."""
    gallery = gr.Gallery(
        value=figures,
        label="Figures",
        format="png",  # the default would be lossy: models would see other pixels
        type="filepath",
        sources=["upload", "clipboard"],
        columns=2,
        fit_columns=False,
        height=320,
        object_fit="contain",
        interactive=True,
    )
    return gallery, gr.Textbox(value=question, label="Question", lines=2, max_length=MAX_CHARACTERS)


def _score_tab(gr: Any, callbacks: Callbacks, first: tuple) -> None:
    """Figures, question and solution on the left, coloured steps on the right."""
    with gr.Row():
        with gr.Column():
            figures, question = _problem_inputs(gr, *first[:2])
            solution = gr.Textbox(
                first[2],
                label="Solution: one step a line, paragraphs, or as a policy writes it",
                lines=6,
                max_length=MAX_CHARACTERS,
            )
            aggregation = gr.Dropdown(AGGREGATIONS, value="min", label="Aggregation: step scores to one number")
            with gr.Row():
                example = gr.Button("Next example")
                run = gr.Button("Score the steps", variant="primary")
        with gr.Column():
            result, data = _outputs(gr)
    _connect(run, callbacks.score, [figures, question, solution, aggregation], [result, data], "score")
    next_number = gr.State(first[3])
    example.click(
        callbacks.example, [next_number], [figures, question, solution, next_number], api_visibility="private"
    )


def _solve_tab(gr: Any, callbacks: Callbacks, first: tuple) -> None:
    """Problem and options on the left, winner and candidates on the right."""
    with gr.Row():
        with gr.Column():
            figures, question = _problem_inputs(gr, *first[:2])
            num_candidates = gr.Slider(1, MAX_CANDIDATES, value=16, step=1, label="Candidates")
            with gr.Row():
                strategy = gr.Dropdown(STRATEGIES, value=STRATEGIES[0], label="Strategy")
                aggregation = gr.Dropdown(AGGREGATIONS, value="min", label="Aggregation")
                seed = gr.Number(0, label="Seed", precision=0)
            with gr.Row():
                example = gr.Button("Next example")
                run = gr.Button("Solve and rerank", variant="primary")
        with gr.Column():
            result, data = _outputs(gr)
    inputs = [figures, question, num_candidates, strategy, aggregation, seed]
    _connect(run, callbacks.solve, inputs, [result, data], "solve")
    next_number = gr.State(first[3])

    def next_problem(number: int) -> tuple:
        images, text, _, following = callbacks.example(number)
        return images, text, following

    example.click(next_problem, [next_number], [figures, question, next_number], api_visibility="private")


def _outputs(gr: Any) -> tuple[Any, Any]:
    """The result as HTML, and its data folded away."""
    result = gr.HTML(_PLACEHOLDER, label="Result")
    with gr.Accordion("Data", open=False):
        return result, gr.JSON(show_label=False)


def _connect(button: Any, function: Any, inputs: list, outputs: list, name: str) -> None:
    """Give a button its function. Both tabs share the models, which serve one event at a time."""
    button.click(function, inputs, outputs, api_name=name, concurrency_limit=1, concurrency_id="models")


def launch(
    policy: str | Path | None = None,
    prm: str | Path | None = None,
    *,
    host: str | None = None,
    port: int | None = None,
    open_browser: bool = False,
    wait: bool = True,
) -> str:
    """Serve the page, by default until it is interrupted; return its local address.

    Args:
        policy, prm: As in `build_app`.
        host: Address to listen at; None takes ``GRADIO_SERVER_NAME`` (a Space sets it), or else this machine alone.
        port: Port to listen at; None takes ``GRADIO_SERVER_PORT``, or else the first free one from 7860 on.
        open_browser: Show the page in a browser.
        wait: If False, return while the page is served in the background.

    Raises:
        ImportError, ValueError: As `build_app`.
        OSError: if the port is taken.
    """
    gr = _gradio()
    fonts = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}  # none from elsewhere
    _, address, _ = build_app(policy, prm).launch(
        server_name=host,
        server_port=port,
        inbrowser=open_browser,
        prevent_thread_lock=not wait,
        share=False,
        theme=gr.themes.Default(**fonts),
        footer_links=["api", "gradio"],
    )
    return address
