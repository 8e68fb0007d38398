"""Each task's checkpoints and cases.

A function makes its checkpoints in a folder, and yields cases: (checkpoint, changes of the
configuration, options of the pipeline, inputs, options of the call).
"""

import itertools
from pathlib import Path

import numpy as np
from material import LONG, SENTENCES, TEXTS, bart, bert, gpt2, roberta, t5

CHAT = (
    "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


def text_classification(folder: Path):
    def tie(model) -> None:
        kernel, bias = model.classifier.kernel, model.classifier.bias
        kernel.assign(kernel * np.array([1, 0, 0, 1], np.float32))
        bias.assign(bias * np.array([1, 0, 0, 1], np.float32))

    labels = ["negative", "neutral", "mixed", "positive"]
    models = {
        "bert": bert(folder / "bert", "ForSequenceClassification", labels, zeros=tie),
        "roberta": roberta(folder / "roberta", "ForSequenceClassification", ["stars"]),
    }
    pair = {"text": SENTENCES[0], "text_pair": SENTENCES[1]}
    long = {"truncation": True}

    def cases():
        for text in TEXTS:
            yield "bert", {}, {}, text, {}
            yield "roberta", {}, {}, text, {}
        for top_k in (1, 2, None, 100):
            yield "bert", {}, {}, SENTENCES[2], {"top_k": top_k}
            yield "bert", {}, {"top_k": top_k}, [*SENTENCES[:2], pair], {}
            yield "bert", {}, {"top_k": top_k}, SENTENCES[3], {}
        for name in ("softmax", "sigmoid", "none", "SOFTMAX"):
            yield "bert", {}, {}, SENTENCES[4], {"function_to_apply": name, "top_k": None}
            yield "roberta", {}, {"function_to_apply": name}, SENTENCES[4], {}
        for kind in ("regression", "multi_label_classification", "single_label_classification"):
            yield "bert", {"problem_type": kind}, {}, SENTENCES[5], {"top_k": None}
            yield "roberta", {"problem_type": kind}, {}, SENTENCES[5], {}
        for value in (True, False):
            yield "bert", {}, {"return_all_scores": value}, SENTENCES[0], {}
            yield "bert", {}, {}, list(SENTENCES[:2]), {"return_all_scores": value}
        yield "bert", {}, {}, pair, {}
        yield "bert", {}, {}, [pair, {"text": SENTENCES[2]}], {"top_k": None}
        yield "bert", {}, {}, [[[SENTENCES[0], SENTENCES[1]]]], {}
        yield "bert", {}, {}, [], {}
        yield "bert", {}, {}, LONG, long
        yield "roberta", {}, {}, [LONG, *SENTENCES], long | {"max_length": 12}
        yield "bert", {}, {}, [LONG, "Hello"], {"padding": True, "truncation": True}
        yield "bert", {}, {}, {"text": LONG, "text_pair": "x"}, {"truncation": "only_first"}

    return models, cases()


def token_classification(folder: Path):
    labels = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC", "MISC"]
    head = "ForTokenClassification"
    models = {
        "bert": bert(folder / "bert", head, labels, do_lower_case=False, model_max_length=24),
        "roberta": roberta(folder / "roberta", head, labels, add_prefix_space=True),
    }
    words = ["Anna", "Müller-Lüdenscheidt", "", "moved", "to", "Zürich", "🐈‍⬛", "."]
    strategies = ("none", "simple", "first", "average", "max")

    def cases():
        for text in TEXTS:
            yield "bert", {}, {}, text, {}
        for strategy, text in itertools.product(strategies[1:], (*TEXTS[5:10:2], *TEXTS[-3:])):
            yield "bert", {}, {"aggregation_strategy": strategy}, text, {}
        for strategy, text in itertools.product(strategies, (*TEXTS[:5], TEXTS[-2])):
            yield "roberta", {}, {}, text, {"aggregation_strategy": strategy}
        for strategy, stride in itertools.product(strategies[1:], (0, 3, 10)):
            options = {"aggregation_strategy": strategy, "stride": stride}
            yield "bert", {}, options, LONG, {}
            yield "roberta", {}, {}, [LONG[:170], "", "Anna"], options
        for ignored in ([], ["O", "B-PER", "PER"], ["MISC", "LOC"]):
            yield "bert", {}, {"ignore_labels": ignored}, SENTENCES[1], {}
            options = {"ignore_labels": ignored, "aggregation_strategy": "simple"}
            yield "bert", {}, {}, SENTENCES[1], options
        for strategy in strategies:
            options = {"is_split_into_words": True, "aggregation_strategy": strategy}
            yield "bert", {}, {}, words, options
            yield "roberta", {}, {}, [words, ["Hello"]], options | {"delimiter": "_-_"}
        yield "bert", {}, {}, list(TEXTS), {"aggregation_strategy": "first"}
        yield "bert", {}, {"grouped_entities": True}, SENTENCES[1], {}
        yield "bert", {}, {"grouped_entities": True, "ignore_subwords": True}, SENTENCES[1], {}

    return models, cases()


def question_answering(folder: Path):
    head = "ForQuestionAnswering"
    models = {
        "bert": bert(folder / "bert", head, spread=0.6),
        "roberta": roberta(folder / "roberta", head, spread=0.6),
    }
    questions = ("Who wrote the letter?", "where?", "Wo liegt 東京 🐈?", "What does my tart need?")
    contexts = (*SENTENCES, TEXTS[-2], "x", "the film " * 12)

    def cases():
        for i, context in enumerate(contexts):
            yield "bert", {}, {}, {"question": questions[i % 4], "context": context}, {}
            yield "roberta", {}, {}, {"question": questions[i % 3], "context": context[:90]}, {}
        both = {"question": questions[0], "context": SENTENCES[5]}
        for options in (
            {"top_k": 1},
            {"top_k": 3},
            {"top_k": 4, "align_to_words": False},
            {"top_k": 50, "max_answer_len": 2},
            {"top_k": 400},
            {"topk": 2},
            {"handle_impossible_answer": True},
            {"handle_impossible_answer": True, "top_k": 3, "max_answer_len": 1},
            {"max_answer_len": 1},
            {"max_answer_len": 100, "top_k": 2},
            {"align_to_words": False},
            {"padding": "max_length", "max_seq_len": 60},
        ):
            yield "bert", {}, {}, both, options
            yield "roberta", {}, options, both, {}
        for options in (
            {"max_seq_len": 30, "doc_stride": 5},
            {"max_seq_len": 30, "doc_stride": 0, "top_k": 3},
            {"max_seq_len": 40, "doc_stride": 20, "top_k": 5, "align_to_words": False},
            {"max_seq_len": 30, "doc_stride": 2, "handle_impossible_answer": True, "top_k": 2},
            {"max_seq_len": 50},
            {},
        ):
            yield "bert", {}, {}, {"question": questions[1], "context": LONG}, options
            yield "roberta", {}, {}, {"question": questions[1], "context": LONG}, options
        yield "bert", {}, {}, {"question": list(questions), "context": SENTENCES[3]}, {}
        several = {"question": list(questions), "context": list(contexts[:4])}
        yield "bert", {}, {}, several, {"top_k": 2}
        yield "bert", {}, {}, [both, {"question": "Hm?", "context": LONG}], {}
        yield "roberta", {}, {}, [both], {}

    return models, cases()


def fill_mask(folder: Path):
    models = {
        "bert": bert(folder / "bert", "ForMaskedLM"),
        "roberta": roberta(folder / "roberta", "ForMaskedLM"),
    }
    masks = {"bert": "[MASK]", "roberta": "<mask>"}
    texts = (
        "{}",
        "A {} sleeps on the warm roof.",
        "Who wrote the{}? Marie wrote the letter",
        "{} {}",
        "The {} Elbe rises in the {} Mountains, {}!",
        "Ein Kätzchen {} — 東京 ist groß 🐈",
    )
    targets = ("the", ["the", "film", "river"], ["the", "the", "butterfly", "✈"], [" the", "Ġthe"])

    def cases():
        for name, mask in masks.items():
            filled = [text.replace("{}", mask) for text in texts]
            for text in filled:
                yield name, {}, {}, text, {}
            for top_k in (1, 3, 300):
                yield name, {}, {"top_k": min(top_k, 20)}, filled[1], {}
                yield name, {}, {}, filled[4], {"top_k": min(top_k, 7)}
            for target in targets:
                yield name, {}, {"targets": target}, filled[2], {}
                yield name, {}, {}, [filled[0], filled[5]], {"targets": target, "top_k": 2}
            yield name, {}, {}, filled, {"top_k": 2}
            yield name, {}, {}, filled[:1], {}
            options = {"tokenizer_kwargs": {"truncation": True}, "top_k": 2}
            yield name, {}, {}, filled[1] + LONG, options

    return models, cases()


def feature_extraction(folder: Path):
    small = {"hidden_size": 4, "num_attention_heads": 1}
    models = {
        "bert": bert(folder / "bert", "Model", config=small),
        "roberta": roberta(folder / "roberta", "Model", config=small),
    }

    def cases():
        for text in TEXTS:
            yield "bert", {}, {}, text, {}
        for text in TEXTS[:6]:
            yield "roberta", {}, {}, text, {}
        for name, tensors in itertools.product(models, (True, False)):
            yield name, {}, {"return_tensors": tensors}, TEXTS[1], {}
            yield name, {}, {}, list(TEXTS[:4]), {"return_tensors": tensors}
        for name in models:
            yield name, {}, {"truncation": True}, LONG, {}
            yield name, {}, {}, [LONG, "Hello", ""], {"truncation": True}
            short = {"truncation": True, "max_length": 5}
            yield name, {}, {}, LONG, {"tokenize_kwargs": short}
            yield name, {}, {"tokenize_kwargs": short}, [LONG, *SENTENCES], {}
            yield name, {}, {}, TEXTS[1], {"tokenize_kwargs": {"add_special_tokens": False}}
            yield name, {}, {}, [], {}

    return models, cases()


def zero_shot_classification(folder: Path):
    head = "ForSequenceClassification"
    labels = ["CONTRADICTION", "NEUTRAL", "ENTAILMENT"]
    models = {
        "bert": bert(folder / "bert", head, labels),
        "roberta": roberta(folder / "roberta", head, ["entailment", "not_entailment"]),
    }
    topics = ["sport", "film", "cats 🐈", "Straßenbau", "food and drink"]

    def cases():
        for text in TEXTS[1:]:
            yield "bert", {}, {}, text, {"candidate_labels": topics}
        for text in SENTENCES[:4]:
            for multi_label in (True, False):
                options = {"candidate_labels": topics, "multi_label": multi_label}
                yield "roberta", {}, options, text, {}
        for wanted in ("film", ["film"], "film, sport ,,cats", ["a", "a", "b"], ["", "x"]):
            for name in models:
                yield name, {}, {}, SENTENCES[2], {"candidate_labels": wanted}
            yield "bert", {}, {"multi_label": True, "candidate_labels": wanted}, SENTENCES[0], {}
        for template in ("{}", "It is about {}!", "{}, always {}"[:10]):
            options = {"hypothesis_template": template, "candidate_labels": topics}
            yield "bert", {}, {}, SENTENCES[5], options
            yield "roberta", {}, {}, SENTENCES[5], options | {"multi_class": True}
        yield "bert", {}, {}, list(SENTENCES), {"candidate_labels": topics}
        yield "bert", {}, {}, [SENTENCES[0]], {"candidate_labels": topics}
        yield "bert", {}, {}, [LONG, "x"], {"candidate_labels": topics}
        yield "roberta", {}, {}, LONG, {"candidate_labels": topics}
        wrong = {"label2id": {"no": 0, "maybe": 1, "yes": 2}}
        yield "bert", wrong, {}, SENTENCES[0], {"candidate_labels": topics, "multi_label": True}
        yield "bert", wrong, {}, SENTENCES[0], {"candidate_labels": topics}

    return models, cases()


def text_generation(folder: Path):
    models = {
        "gpt2": gpt2(folder / "gpt2", CHAT),
        "prefixed": gpt2(
            folder / "prefixed",
            prefix="Once upon a time, ",
            task_specific_params={"text-generation": {"max_length": 40, "no_repeat_ngram_size": 2}},
        ),
    }
    chat = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Who wrote the letter 🐈?"},
    ]
    answered = [*chat, {"role": "assistant", "content": "It was"}]
    five = {"max_new_tokens": 5}

    def cases():
        for text in TEXTS[:-2]:
            yield "gpt2", {}, {}, text, {"max_new_tokens": 8}
        for text in TEXTS[:5]:
            yield "prefixed", {}, {}, text, {}
            yield "prefixed", {}, {}, text, five
        for options in (
            {},
            {"max_length": 25},
            {"return_full_text": False},
            {"return_full_text": True},
            {"return_tensors": True},
            {"return_text": True},
            {"clean_up_tokenization_spaces": False},
            {"skip_special_tokens": False},
            {"num_beams": 3, "num_return_sequences": 2},
            {"num_beams": 2, "num_return_sequences": 2, "return_tensors": True},
            {"prefix": "The film , he said . "},
            {"prefix": "The film , ", "min_length": 22, "max_length": 30},
            {"stop_sequence": "e"},
            {"repetition_penalty": 1.5, "no_repeat_ngram_size": 2},
            {"add_special_tokens": True, "truncation": True},
            {"tokenizer_encode_kwargs": {"truncation": True, "max_length": 4}},
        ):
            call = options if "max_length" in options else five | options
            yield "gpt2", {}, {}, "A cat , a film .", call
            yield "gpt2", {}, call, ["Hello", "What a dull"], {}
        yield "gpt2", {}, {}, LONG, five | {"handle_long_generation": "hole"}
        yield "gpt2", {}, {}, "Hello", five | {"handle_long_generation": "hole"}
        for messages in (chat, answered, [chat, answered, chat[1:]], [chat]):
            for options in ({}, {"return_full_text": False}, {"return_tensors": True}):
                yield "gpt2", {}, {}, messages, five | options
        for goes_on in (True, False):
            yield "gpt2", {}, {}, answered, five | {"continue_final_message": goes_on}

    return models, cases()


def text2text_cases(names):
    """Yield the cases that summaries and translations share."""
    for text in TEXTS[:-2]:
        yield names[0], {}, {}, text, {}
    for text in SENTENCES:
        yield names[1], {}, {}, text, {}
    for name, options in itertools.product(
        names,
        (
            {"max_length": 7},
            {"min_length": 9, "max_length": 12},
            {"max_new_tokens": 4},
            {"num_beams": 3},
            {"num_beams": 4, "num_return_sequences": 3, "early_stopping": True},
            {"num_beams": 2, "num_return_sequences": 2, "return_tensors": True},
            {"return_tensors": True},
            {"return_text": True},
            {"clean_up_tokenization_spaces": True},
            # With beams, the penalty for repetition of 4.57 is not PyTorch's, which ours is.
            {"no_repeat_ngram_size": 2},
            {"stop_sequence": "e"},
        ),
    ):
        yield name, {}, {}, SENTENCES[0], options
        yield name, {}, options, list(SENTENCES[:3]), {}
    for name in names:
        yield name, {}, {}, LONG, {"truncation": True}
        yield name, {}, {"truncation": True}, [LONG, "", "cat"], {"num_beams": 2}
        yield name, {}, {}, [], {}


def summarization(folder: Path):
    own = {"max_length": 15, "min_length": 4, "num_beams": 2, "prefix": "summarize: "}
    models = {"t5": t5(folder / "t5", {"summarization": own}), "bart": bart(folder / "bart")}
    # With beams, the penalty for repetition of Transformers 4.57 is not PyTorch's, which ours is.
    cases = (
        (name, config, options, inputs, call)
        for name, config, options, inputs, call in text2text_cases(("t5", "bart"))
        if name == "bart" or "repetition_penalty" not in options | call
    )
    return models, cases


def translation(folder: Path):
    own = {
        f"translation_en_to_{language}": {
            "max_length": length,
            "prefix": f"English to {language}: ",
        }
        for language, length in (("de", 12), ("fr", 16))
    }
    models = {"t5": t5(folder / "t5", own), "bart": bart(folder / "bart")}

    def cases():
        yield from text2text_cases(("bart", "t5"))
        for language, text in itertools.product(("de", "fr", "ro"), SENTENCES[:4]):
            yield "t5", {}, {"task": f"translation_en_to_{language}"}, text, {}
            yield (
                "t5",
                {},
                {"task": f"translation_en_to_{language}"},
                [text, "cat"],
                {"num_beams": 2},
            )

    return models, cases()


TASKS = {
    "feature-extraction": feature_extraction,
    "fill-mask": fill_mask,
    "question-answering": question_answering,
    "text-classification": text_classification,
    "summarization": summarization,
    "text-generation": text_generation,
    "token-classification": token_classification,
    "translation": translation,
    "zero-shot-classification": zero_shot_classification,
}
