"""The tabs of the page, one function for each task. Needs Gradio."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import gradio as gr
import numpy as np
import pandas as pd

from tfhf.demo.page import TASKS, LazyPipeline
from tfhf.generation import TextIteratorStreamer

#: Fonts that are there: the page fetches nothing from elsewhere.
THEME = gr.themes.Default(
    primary_hue="orange", font=["system-ui", "sans-serif"], font_mono=["monospace"]
)
#: Coloured texts flow as others do, and break between words.
CSS = ".textfield { display: block !important; word-break: normal !important; }"
#: Stands for the mask token, whatever the model calls it.
GAP = "___"

REVIEW = "A moving, beautifully acted film that stays with you for days."
ARTICLE = (
    "The tower is 324 metres tall, about the same height as a building of 81 storeys, and the "
    "tallest structure in Paris. Its base is square, measuring 125 metres on each side. During its "
    "construction, the Eiffel Tower surpassed the Washington Monument to become the tallest "
    "man-made structure in the world, a title it held for 41 years until the Chrysler Building in "
    "New York City was finished in 1930."
)


def make_tabs(pipelines: Mapping[str, LazyPipeline]) -> gr.Blocks:
    """Return the page with a tab for each pipeline, by the name of its task."""
    tabs = [TABS[task](pipe) for task, pipe in pipelines.items()]
    names = [TASKS[task] for task in pipelines]
    return gr.TabbedInterface(tabs, names, title="tfhf", analytics_enabled=False)


def sentiment_analysis(pipe: LazyPipeline) -> gr.Interface:
    """Labels of a text, as bars."""

    def classify(text: str) -> dict[str, float]:
        return _bars(pipe(text, top_k=None, truncation=True))

    return _tab(
        pipe,
        classify,
        gr.Textbox(label="Text", lines=3),
        gr.Label(label="Labels"),
        examples=[[REVIEW], ["Two hours of my life that I will never get back."]],
    )


def zero_shot_classification(pipe: LazyPipeline) -> gr.Interface:
    """Labels of one's own for a text, as bars."""

    def classify(text: str, labels: str, multi_label: bool) -> dict[str, float]:
        result = pipe(text, candidate_labels=labels, multi_label=multi_label)
        return dict(zip(result["labels"], result["scores"]))

    return _tab(
        pipe,
        classify,
        [
            gr.Textbox(label="Text", lines=3),
            gr.Textbox(label="Labels, with commas between them"),
            gr.Checkbox(label="Several labels may fit"),
        ],
        gr.Label(label="Labels"),
        examples=[
            ["This is a course about the Transformers library.", "education, politics, sport"],
            [REVIEW, "delightful, dreadful"],
        ],
    )


def ner(pipe: LazyPipeline) -> gr.Interface:
    """A text with its entities coloured."""

    def find(text: str, strategy: str) -> dict[str, Any]:
        found = pipe(text, aggregation_strategy=strategy)
        entities = [each | {"entity": each["entity_group"]} for each in found]
        return {"text": text, "entities": entities}

    return _tab(
        pipe,
        find,
        [
            gr.Textbox(label="Text", lines=3),
            gr.Radio(["simple", "first", "average", "max"], value="simple", label="Aggregation"),
        ],
        gr.HighlightedText(label="Entities", combine_adjacent=False, show_legend=True),
        examples=[
            ["My name is Sylvain and I work at Hugging Face in Brooklyn.", "simple"],
            ["Angela Merkel met Emmanuel Macron in Paris.", "first"],
        ],
    )


def question_answering(pipe: LazyPipeline) -> gr.Interface:
    """A text with the answer to a question marked, and the scores of several."""

    def answer(question: str, context: str) -> tuple[dict[str, Any], dict[str, float]]:
        found = pipe(question=question, context=context, top_k=3)
        found = found if isinstance(found, list) else [found]
        marked = {"text": context, "entities": [found[0] | {"entity": "answer"}]}
        return marked, {each["answer"]: each["score"] for each in found}

    return _tab(
        pipe,
        answer,
        [gr.Textbox(label="Question"), gr.Textbox(label="Text", lines=6)],
        [gr.HighlightedText(label="Answer", color_map={"answer": "orange"}), _labels("Answers")],
        examples=[
            ["How tall is the tower?", ARTICLE],
            ["When was the Chrysler Building finished?", ARTICLE],
        ],
    )


def fill_mask(pipe: LazyPipeline) -> gr.Interface:
    """The words that fit a gap, as bars."""

    def fill(text: str) -> dict[str, float]:
        if text.count(GAP) != 1:
            raise gr.Error(f"The text must have one gap: {GAP}")
        found = pipe(text.replace(GAP, pipe.pipeline.tokenizer.mask_token))
        return {each["token_str"]: each["score"] for each in found}

    return _tab(
        pipe,
        fill,
        gr.Textbox(label=f"Text, with {GAP} for the gap", lines=3),
        _labels("Words"),
        examples=[
            [f"This course will teach you all about {GAP} models."],
            [f"The capital of France is {GAP}."],
        ],
    )


def feature_extraction(pipe: LazyPipeline) -> gr.Interface:
    """How alike sentences are: the cosine between the means of their tokens' states."""

    def compare(text: str) -> str:
        sentences = [line.strip() for line in text.splitlines() if line.strip()]
        if not sentences:
            raise gr.Error("There must be a sentence.")
        states = pipe(sentences, truncation=True)
        means = np.stack([np.mean(one[0], axis=0) for one in states])
        means /= np.linalg.norm(means, axis=1, keepdims=True)
        places = [str(i) for i in range(1, len(sentences) + 1)]
        rows = [f"{place}. {html.escape(text)}" for place, text in zip(places, sentences)]
        table = pd.DataFrame(means @ means.T, index=rows, columns=places)
        return table.style.format("{:.2f}").map(_shade).to_html()

    sentences = ["A man is eating food.", "Someone has a meal.", "A cheetah runs after its prey."]
    return _tab(
        pipe,
        compare,
        gr.Textbox(label="Sentences, one a line", lines=5),
        gr.HTML(label="Similarity", show_label=True, container=True, padding=True),
        examples=[["\n".join(sentences)]],
    )


def text_generation(pipe: LazyPipeline) -> gr.Interface:
    """What follows a text, word by word as it comes."""

    def write(text: str, max_new_tokens: float, temperature: float) -> Iterator[str]:
        sampling = {"do_sample": True, "temperature": temperature} if temperature else {}
        options = {"max_new_tokens": int(max_new_tokens), "do_sample": False} | sampling
        for piece in stream(pipe, text, **options):
            text += piece
            yield text

    return _tab(
        pipe,
        write,
        [
            gr.Textbox(label="Beginning", lines=3),
            gr.Slider(1, 500, value=60, step=1, label="New tokens"),
            gr.Slider(0, 2, value=0, step=0.1, label="Temperature (0: the likeliest token)"),
        ],
        gr.Textbox(label="Text", lines=8),
        examples=[["In this course, we will teach you how to"], ["Once upon a time"]],
    )


def summarization(pipe: LazyPipeline) -> gr.Interface:
    """The gist of a text."""

    def summarize(text: str, max_new_tokens: float) -> str:
        return pipe(text, max_new_tokens=int(max_new_tokens))[0]["summary_text"]

    return _tab(
        pipe,
        summarize,
        [
            gr.Textbox(label="Text", lines=8),
            gr.Slider(1, 200, value=60, step=1, label="Tokens, at most"),
        ],
        gr.Textbox(label="Summary", lines=5),
        examples=[[ARTICLE]],
    )


def translation(pipe: LazyPipeline) -> gr.Interface:
    """A text in another language."""

    def translate(text: str) -> str:
        return pipe(text, max_new_tokens=200)[0]["translation_text"]

    return _tab(
        pipe,
        translate,
        gr.Textbox(label="Text", lines=5),
        gr.Textbox(label=f"Translation ({pipe.task})", lines=5),
        examples=[["This course is produced by Hugging Face."], ["How old are you?"]],
    )


TABS: dict[str, Callable[[LazyPipeline], gr.Interface]] = {
    "sentiment-analysis": sentiment_analysis,
    "zero-shot-classification": zero_shot_classification,
    "ner": ner,
    "question-answering": question_answering,
    "fill-mask": fill_mask,
    "feature-extraction": feature_extraction,
    "text-generation": text_generation,
    "summarization": summarization,
    "translation": translation,
}


def stream(pipe: LazyPipeline, text: str, **options: Any) -> Iterator[str]:
    """Give what a text-generation pipeline writes after a text, piece by piece."""
    tokenizer = pipe.pipeline.tokenizer
    streamer = TextIteratorStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True)
    with ThreadPoolExecutor(1) as thread:
        done = thread.submit(pipe, text, streamer=streamer, **options)
        done.add_done_callback(lambda done: streamer.end() if done.exception() else None)
        yield from streamer
        done.result()  # raises what was raised there


def _tab(
    pipe: LazyPipeline,
    function: Callable[..., Any],
    inputs: Any,
    outputs: Any,
    examples: Sequence[Sequence[Any]],
) -> gr.Interface:
    """Return inputs at the left, outputs at the right, and examples to click on below."""
    return gr.Interface(
        function,
        inputs,
        outputs,
        examples=[list(example) for example in examples],
        description=f'`pipeline("{pipe.task}")` with {pipe.name}',
        api_name=pipe.task.replace("-", "_"),
        submit_btn="Run",
        flagging_mode="never",
        cache_examples=False,
        analytics_enabled=False,
    )


def _bars(labels: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    return {each["label"]: each["score"] for each in labels}


def _labels(label: str) -> gr.Label:
    return gr.Label(label=label, show_heading=False)


def _shade(value: float) -> str:
    return f"background-color: rgba(249, 115, 22, {max(value, 0) ** 2:.2f})"
