"""The page of ``tfhf demo``: that it is built, and, in a browser, that every tab answers."""

import itertools
import re
import shutil
import sys

import numpy as np
import pytest
from golden import FIXTURES, make

from tfhf import demo

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
FOLDERS = {
    "sentiment-analysis": "text-classification/bert",
    "zero-shot-classification": "zero-shot-classification/bert",
    "token-classification": "token-classification/bert",
    "question-answering": "question-answering/bert",
    "fill-mask": "fill-mask/roberta",
    "feature-extraction": "feature-extraction/bert",
    "text-generation": "text-generation/gpt2",
    "summarization": "summarization/t5",
    "translation_en_to_de": "translation/t5",
}
MODELS = {task: str(FIXTURES / folder) for task, folder in FOLDERS.items()}


@pytest.fixture(scope="module")
def gradio():
    return pytest.importorskip("gradio", reason="the demo's extra is not installed")


@pytest.fixture(scope="module")
def tabs(gradio):
    """The function behind each tab, by its task."""
    from tfhf.demo import page
    from tfhf.demo.tabs import TABS

    pipelines = page.make_pipelines(MODELS)
    return {task: TABS[task](pipe).fn for task, pipe in pipelines.items()}


def test_the_page_is_there_before_any_model(gradio):
    built = demo.make_demo({"ner": "nowhere/nothing"})
    names = {each["api_name"] for each in built.config["dependencies"]}
    assert {"token_classification", "ner", "fill_mask", "translation_en_to_fr"} & names == {
        "ner",
        "fill_mask",
        "translation_en_to_fr",
    }
    parts = built.config["components"]
    written = [part["props"]["label"] for part in parts if part["type"] == "tabitem"]
    assert written == [*demo.page.TASKS.values()]


def test_models_of_tasks():
    pipelines = demo.page.make_pipelines(MODELS)
    assert list(pipelines) == list(demo.page.TASKS)
    assert pipelines["ner"].name == MODELS["token-classification"]
    assert pipelines["translation"].task == "translation_en_to_de"
    defaults = demo.page.make_pipelines({})
    assert defaults["text-generation"].name == "openai-community/gpt2, the default"
    assert defaults["translation"].task == "translation_en_to_fr"


def test_wrong_models():
    with pytest.raises(KeyError, match="Unknown task 'sentiment'"):
        demo.make_demo({"sentiment": "x"})
    with pytest.raises(KeyError, match="no tab for text2text-generation, only for sentiment-anal"):
        demo.make_demo({"text2text-generation": "x"})
    with pytest.raises(ValueError, match="two entries for one task: 'token-classification'"):
        demo.make_demo({"ner": "x", "token-classification": "y"})


def test_without_gradio(monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    monkeypatch.delitem(sys.modules, "tfhf.demo.tabs", raising=False)
    with pytest.raises(ImportError, match=r"needs Gradio: pip install 'tfhf\[demo\]'"):
        demo.make_demo()


def test_bars(tabs):
    text = "A moving film."
    found = tabs["sentiment-analysis"](text)
    assert found == {
        each["label"]: each["score"]
        for each in make("text-classification", "bert")(text, top_k=None)
    }
    found = tabs["zero-shot-classification"](text, "art, sport", False)
    expected = make("zero-shot-classification", "bert")(text, "art, sport")
    assert found == dict(zip(expected["labels"], expected["scores"]))
    found = tabs["fill-mask"]("A ___ film.")
    expected = make("fill-mask", "roberta")("A <mask> film.")
    assert found == {each["token_str"]: each["score"] for each in expected}


def test_spans(tabs):
    text = "I live in Berlin."
    found = tabs["ner"](text, "first")
    expected = make("token-classification", "bert", aggregation_strategy="first")(text)
    assert found["text"] == text and expected
    assert [(each["entity"], each["start"], each["end"]) for each in found["entities"]] == [
        (each["entity_group"], each["start"], each["end"]) for each in expected
    ]
    marked, scores = tabs["question-answering"]("Where do I live?", text)
    (answer,) = marked["entities"]
    assert answer["entity"] == "answer"
    assert text[answer["start"] : answer["end"]] == next(iter(scores))


def test_texts(tabs):
    parts = list(tabs["text-generation"]("Hello", 5, 0))
    expected = make("text-generation", "gpt2", max_new_tokens=5, do_sample=False)("Hello")
    assert len(parts) > 1
    assert all(after.startswith(before) for before, after in itertools.pairwise(parts))
    assert parts[-1] == expected[0]["generated_text"]
    assert isinstance(tabs["summarization"]("A film.", 4), str)
    assert isinstance(tabs["translation"]("A film."), str)


def test_similarity(tabs):
    table = tabs["feature-extraction"]("A film.\n\n <b>A</b> film.\nA film.\n")
    numbers = np.array([float(number) for number in re.findall(r">(-?\d\.\d\d)<", table)])
    assert numbers.shape == (9,)
    numbers = numbers.reshape(3, 3)
    assert (numbers == numbers.T).all()
    assert (numbers.diagonal() == 1).all() and numbers[0, 2] == 1 and numbers[0, 1] < 1
    assert "&lt;b&gt;A&lt;/b&gt;" in table and "<b>" not in table


def test_what_goes_wrong_is_said(tabs, gradio):
    with pytest.raises(gradio.Error, match="must have one gap: ___"):
        tabs["fill-mask"]("No gap.")
    with pytest.raises(gradio.Error, match="There must be a sentence"):
        tabs["feature-extraction"](" \n")
    with pytest.raises(ValueError, match="max_new_tokens"):
        list(tabs["text-generation"]("Hello", 0, 0))


@pytest.mark.slow
def test_every_tab_in_a_browser(gradio, tmp_path):
    sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    _, url, _ = demo.launch(MODELS, prevent_thread_lock=True, quiet=True)
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1200, "height": 760})
        fetched, wrong = [], []
        page.on("request", lambda request: fetched.append(request.url))
        page.on("pageerror", lambda error: wrong.append(error))
        page.goto(url)
        for task, name in demo.page.TASKS.items():
            page.get_by_role("tab", name=name, exact=True).click()
            tab = page.locator("[role=tabpanel]:visible")
            tab.locator(".gallery-item, tbody tr").first.click()
            page.wait_for_timeout(500)  # until the example is written into the fields
            tab.get_by_role("button", name="Run", exact=True).click()
            answered = {
                "ner": ".highlighted",
                "question-answering": ".highlighted",
                "feature-extraction": "td >> text=1.00",
                "text-generation": "textarea >> nth=1",
                "summarization": "textarea >> nth=1",
                "translation": "textarea >> nth=1",
            }.get(task, "[data-testid=label-output-value], .confidence, dd")
            tab.locator(answered).first.wait_for(timeout=60_000)
            if answered.startswith("textarea"):
                begun = tab.locator(answered).element_handle()
                page.wait_for_function("box => box.value.length > 0", arg=begun, timeout=60_000)
            assert not page.get_by_test_id("toast-body").count(), task
            page.screenshot(path=tmp_path / f"{task}.png")
            assert (tmp_path / f"{task}.png").stat().st_size > 10_000
        browser.close()
    demo_server = url.rstrip("/")
    assert not wrong
    assert all(each.startswith((demo_server, "data:", "blob:")) for each in fetched)
    gradio.close_all()
