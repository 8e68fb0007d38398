"""Texts in, texts out without Python: the same strings as the pipelines', in every family."""

import functools
import json
from pathlib import Path
from pydoc_data.topics import topics  # Python's own reference, as plain text

import numpy as np
import pytest
import sentencepiece
import tensorflow as tf
from random_decoders import config_of, randomize
from tokenizer_families import FAMILIES
from transformers import BertConfig, EncoderDecoderConfig, MarianTokenizer

import tfhf
from tfhf.generation import compiled
from tfhf.serving import serve_check
from tfhf.serving.saved_model_process import SavedModelProcess
from tfhf.serving.signatures import (
    UNSEEDED,
    build,
    default_task,
    generate,
    generate_text,
    summarization,
    text2text_generation,
    text_generation,
    tokens,
    translation,
)
from tfhf.serving.signatures.generation import Writer

TEXTS = ["the object", "", "it 's a, é . 電", "  a\n🎬", "value value value"]
CORPUS = [part for topic in [*topics.values()][:12] for part in topic.split("\n\n")]
GREEDY = {"max_new_tokens": 8}
BEAMS = {"max_new_tokens": 8, "num_beams": 3}
#: Without it, random encoder-decoders say the same to most texts.
VARIED = {"no_repeat_ngram_size": 1}
T5, BART, MARIAN = (
    "TFT5ForConditionalGeneration",
    "TFBartForConditionalGeneration",
    "TFMarianMTModel",
)
#: T5's settings, for each task its own.
SPECIFIC = {
    "summarization": {"prefix": "sum: ", "max_length": 9, "num_beams": 2},
    "translation_en_to_de": {"prefix": "en to de: ", "max_length": 5},
    "translation_en_to_fr": {"num_beams": 2, "num_return_sequences": 2, "max_length": 7},
}
GPT2, LLAMA = "TFGPT2LMHeadModel", "TFLlamaForCausalLM"
LED, BOTH = "TFLEDForConditionalGeneration", "TFEncoderDecoderModel"
#: {model: the family of its tokenizer}
DECODERS = {
    GPT2: "GPT-2",
    LLAMA: "Llama-2",
    "TFMistralForCausalLM": "Llama-2 as before",
    "TFQwen2ForCausalLM": "Qwen2",
    "TFOPTForCausalLM": "Llama-3",
    "TFBloomForCausalLM": "Qwen2 with tokens never merged",
    "TFGPTNeoXForCausalLM": "GPT-NeoX",
    "TFGemma2ForCausalLM": "Gemma",
}
ENCODER_DECODERS = {
    T5: "T5",
    "TFMT5ForConditionalGeneration": "T5",
    BART: "BART",
    "TFMBartForConditionalGeneration": "mBART",
    "TFPegasusForConditionalGeneration": "Pegasus",
    LED: "BART",
    MARIAN: "Marian",
    BOTH: "BERT",
}


def marian(folder):
    """Return a tokenizer of two languages, with one vocabulary."""
    vocab = {"</s>": 0, "<unk>": 1}
    for name, part in {"source": CORPUS[::2], "target": CORPUS[1::2]}.items():
        lines = [line for text in part for line in text.split("\n")]
        with open(folder / f"{name}.spm", "wb") as file:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=iter(lines), model_writer=file, vocab_size=400, minloglevel=3
            )
        model = sentencepiece.SentencePieceProcessor(str(folder / f"{name}.spm"))
        for index in range(3, model.get_piece_size()):
            vocab.setdefault(model.id_to_piece(index), len(vocab))
    (folder / "vocab.json").write_text(json.dumps(vocab | {"<pad>": len(vocab)}))
    files = ("source.spm", "target.spm", "vocab.json")
    return MarianTokenizer(*(str(folder / name) for name in files))


def randomize_for_texts(model):
    """Give a model weights under which it has something else to say to each text."""
    randomize(model, 2)
    for weight in model.weights:
        if weight.name == "beta":  # around 1 it favours the same tokens everywhere
            weight.assign(weight - 1)
        if "cross_attention" in weight.path and len(weight.shape) > 1:
            weight.assign(10 * weight)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Make random models, each once, with their tokenizers."""

    @functools.cache
    def tokenizer_of(family):
        if family == "Marian":
            return marian(tmp_path_factory.mktemp("marian"))
        return FAMILIES[family](CORPUS)

    @functools.cache
    def make(class_name):
        tokenizer = tokenizer_of((DECODERS | ENCODER_DECODERS)[class_name])
        names = ("bos_token_id", "eos_token_id", "pad_token_id")
        special = {name: getattr(tokenizer, name) for name in names}
        if class_name in ENCODER_DECODERS:
            special["decoder_start_token_id"] = 2
        if class_name == MARIAN:
            special["decoder_vocab_size"] = len(tokenizer)
        if class_name == BOTH:
            sizes = {"hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 3}
            part = BertConfig(vocab_size=len(tokenizer), intermediate_size=17, **sizes)
            config = EncoderDecoderConfig.from_encoder_decoder_configs(part, part, **special)
        else:
            config = config_of(class_name, vocab_size=len(tokenizer), **special)
        model = getattr(tfhf, class_name)(config)
        randomize_for_texts(model)
        return model, tokenizer

    return make


def texts_of(results):
    """Return the texts of a pipeline's results as bytes: [inputs], or [inputs, sequences]."""
    rows = [result if isinstance(result, list) else [result] for result in results]
    rows = [[next(iter(one.values())).encode() for one in row] for row in rows]
    return [row[0] if len(row) == 1 else row for row in rows]


def by_pipeline(model, tokenizer, task, texts, **settings):
    """Return what the pipeline makes of texts."""
    pipe = tfhf.pipeline(task, model, tokenizer=tokenizer)
    if "global_attention_mask" not in model.input_names:
        # Where no token begins a text, pipelines refuse one without tokens, and graphs add nothing.
        begins = model.generation_config.bos_token_id is not None
        read = [text for text in texts if begins or tokenizer(text).input_ids]
        results = iter(texts_of(pipe(read, **settings)))
        return [next(results) if text in read else b"" for text in texts]
    results = []
    for text in texts:  # the first token sees all, which pipelines leave to the caller
        seeing_all = np.zeros([1, len(tokenizer(text).input_ids)], np.int32)
        seeing_all[0, 0] = 1
        results.append(pipe(text, **settings, global_attention_mask=seeing_all))
    return texts_of(results)


def ask(signature, texts, **inputs):
    """Return what a signature answers, without a SavedModel."""
    kinds = {"max_new_tokens": tf.int32, "seed": tf.int32}
    inputs = {k: tf.constant(v, kinds.get(k, tf.float32)) for k, v in inputs.items()}
    (answers,) = signature.function(text=tf.constant(texts, tf.string), **inputs).values()
    return answers.numpy().tolist()


@pytest.mark.slow
@pytest.mark.parametrize("class_name", [*DECODERS, *ENCODER_DECODERS])
def test_every_family(class_name, made, tmp_path):
    """Greedy search and beams, of which rows end early; beside them nothing and broken bytes."""
    model, tokenizer = made(class_name)
    size = len(tokenizer)
    ends = range(size // 2, size // 2 + size // 9)
    if class_name == MARIAN:  # all of its texts begin with one of those
        ends = range(476, 490)
    settings = {"eos_token_id": [tokenizer.eos_token_id, *ends]}
    settings["eos_token_id"] = [end for end in settings["eos_token_id"] if end is not None]
    task, builder, name = "text-generation", text_generation, "generated_text"
    if class_name in ENCODER_DECODERS:
        task, builder = "text2text-generation", text2text_generation
        settings |= VARIED
    beams = functools.partial(builder, **BEAMS, **settings)
    version = model.export(tmp_path, tokenizer, signatures={"beams": beams}, **GREEDY, **settings)
    mixed = [b"\xff\xfe the", *(text.encode() for text in TEXTS), b"\xe9\x9b"]
    with SavedModelProcess(version) as served:
        for signature, more in {"serving_default": GREEDY, "beams": BEAMS}.items():
            expected = by_pipeline(model, tokenizer, task, TEXTS, **settings, **more)
            assert len(set(expected)) > 3
            assert served.predict({"text": TEXTS}, signature)[name].tolist() == expected
            assert served.predict({"text": mixed}, signature)[name].tolist()[1:-1] == expected
            nothing = {"text": tf.constant([], tf.string)}
            assert served.predict(nothing, signature)[name].shape == (0,)


@pytest.mark.slow
@pytest.mark.parametrize("class_name", [GPT2, T5])
def test_matrices_laid_out_for_few_rows(class_name, made, monkeypatch, tmp_path):
    """As those of a larger model are for two texts or more: the same texts without Python."""
    model, tokenizer = made(class_name)
    task = default_task(model)
    expected = by_pipeline(model, tokenizer, task, TEXTS, **GREEDY, **VARIED)
    monkeypatch.setattr(compiled, "SMALLEST", 0)
    monkeypatch.setattr(compiled, "STEPS", GREEDY["max_new_tokens"])
    version = model.export(tmp_path, tokenizer, **GREEDY, **VARIED)
    with SavedModelProcess(version) as served:
        for texts, answers in ((TEXTS, expected), (TEXTS[:1], expected[:1])):
            (found,) = served.predict({"text": texts}).values()
            assert found.tolist() == answers


OPTIONS = {
    "max_new_tokens": [3, 9, 1, 99, 0],
    "temperature": [0.0, 1.0, 0.7, -1.0, 2.5],
    "top_p": [1.0, 0.9, 0.5, 0.3, 7.0],
    "seed": [0, 1, 2, 3, 2**31 - 1],
}


def check_rows(model, tokenizer, found):
    """Each text is what the pipeline makes of it alone, with the options of its row."""
    for text, answer, new, temperature, top_p, seed in zip(TEXTS, found, *OPTIONS.values()):
        settings = {"max_new_tokens": min(max(new, 1), 9)}
        if temperature > 0:
            settings |= {"do_sample": True, "temperature": temperature, "top_p": min(top_p, 1.0)}
            settings |= {"seed": seed, "top_k": 20}
        assert [answer] == by_pipeline(model, tokenizer, "text-generation", [text], **settings)


def test_options_of_each_row(made):
    """Each row is as alone, whatever the others ask for."""
    model, tokenizer = made(LLAMA)
    signature = generate_text(model, tokenizer, max_new_tokens=9, top_k=20)
    found = ask(signature, TEXTS, **OPTIONS)
    check_rows(model, tokenizer, found)
    again = ask(signature, TEXTS[:0:-1], **{name: row[:0:-1] for name, row in OPTIONS.items()})
    assert again == found[:0:-1]
    assert ask(signature, [], **{name: [] for name in OPTIONS}) == []
    assert UNSEEDED not in signature.facts


@pytest.mark.slow
def test_drawing_without_python(made, tmp_path, program):
    model, tokenizer = made(LLAMA)
    drawn = {"do_sample": True, "num_return_sequences": 3, "return_full_text": False, "seed": 4}
    builders = {
        "options": functools.partial(generate_text, max_new_tokens=9, top_k=20),
        "drawn": functools.partial(text_generation, **drawn, **GREEDY),
        "unseeded": functools.partial(text_generation, do_sample=True, **GREEDY),
    }
    version = model.export(tmp_path, tokenizer, signatures=builders, batch_sizes=[1], **GREEDY)
    options = {
        name: np.array(row, np.float32 if isinstance(row[0], float) else np.int32)
        for name, row in OPTIONS.items()
    }
    texts = {"text": np.array(TEXTS, object)}
    check_rows(
        model, tokenizer, program.predict(version, texts | options, "options")["generated_text"]
    )
    found = program.predict(version, texts, "drawn")["generated_text"]
    expected = by_pipeline(model, tokenizer, "text-generation", TEXTS, **drawn, **GREEDY)
    assert found.tolist() == expected
    check = serve_check(version, callers=[1], seconds=0)
    assert check.problems == []
    assert {each.signature_name for each in check.requests if each.unseeded} == {"unseeded"}
    assert "| `unseeded` | sampled without a seed |" in Path(version, "README.md").read_text()


@pytest.mark.slow
def test_tasks_without_python(made, monkeypatch, tmp_path, program):
    model, tokenizer = made(T5)
    monkeypatch.setattr(model.config, "task_specific_params", SPECIFIC, raising=False)
    builders = {"translation": functools.partial(translation, **VARIED)}
    version = model.export(
        tmp_path, tokenizer, "summarization", signatures=builders, batch_sizes=[1], **VARIED
    )
    for task, signature in {
        "summarization": "serving_default",
        "translation": "translation",
    }.items():
        found = program.predict(version, {"text": np.array(TEXTS, object)}, signature)
        (texts,) = found.values()
        assert texts.tolist() == by_pipeline(model, tokenizer, task, TEXTS, **VARIED)


@pytest.mark.parametrize("setting", [{"num_beams": 3}, {"temperature": 0.5}, {"seed": 4}])
def test_settings_that_each_row_has(made, setting):
    ((name, value),) = setting.items()
    with pytest.raises(ValueError, match=f"{name} = {value}: generate_text samples without beams"):
        generate_text(*made(LLAMA), max_new_tokens=3, **setting)


def test_whether_answers_differ_from_call_to_call(made):
    model, _ = made(LLAMA)
    for settings, unseeded in [
        ({"do_sample": True}, True),
        ({"do_sample": True, "seed": 0}, False),
        ({"temperature": 0.5}, False),
    ]:
        facts = Writer(model, model.generation_config, {**GREEDY, **settings}).facts
        assert facts.get(UNSEEDED, False) == unseeded


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"num_beams": 4}], ids=["rows", "beams"])
def test_sampling_with_a_seed(made, settings):
    """A text gets the same answers, whatever its batch; without a seed, others each time."""
    settings = {"do_sample": True, "num_return_sequences": 3, **GREEDY, **settings}
    model, tokenizer = made(LLAMA)
    signature = text_generation(model, tokenizer, return_full_text=False, seed=4, **settings)
    found = ask(signature, TEXTS)
    shown = {"return_full_text": False, "seed": 4}
    expected = by_pipeline(model, tokenizer, "text-generation", TEXTS, **shown, **settings)
    assert found == expected
    assert ask(signature, TEXTS[3:]) == found[3:]
    assert ask(signature, []) == []
    unseeded = text_generation(model, tokenizer, return_full_text=False, **settings)
    assert len({str(ask(unseeded, TEXTS)) for _ in range(3)}) == 3


@pytest.mark.slow
def test_long_texts_leave_room(made, monkeypatch):
    """Of a text that is too long, the end is read; the others of its batch lose nothing."""
    model, tokenizer = made(GPT2)
    monkeypatch.setattr(tokenizer, "model_max_length", model.max_length)
    texts = ["short", "a long object, " * 19, "b c " * 25, "電é" * 40]
    assert len(tokenizer(texts[1]).input_ids) > model.max_length
    found = ask(text_generation(model, tokenizer, **GREEDY), texts)
    cut = {"handle_long_generation": "hole"}
    assert found == by_pipeline(model, tokenizer, "text-generation", texts, **GREEDY, **cut)


@pytest.mark.slow
def test_a_text_that_cannot_begin(made, monkeypatch):
    """Where no token begins a text, nothing follows an empty one."""
    model, tokenizer = made(GPT2)
    monkeypatch.setattr(model.generation_config, "bos_token_id", None)
    found = ask(text_generation(model, tokenizer, **GREEDY), ["", "a"])
    assert found[0] == b"" and found[1].startswith(b"a") and len(found[1]) > 1


@pytest.mark.slow
def test_prefix_and_clean_up(made):
    model, tokenizer = made(GPT2)
    for settings in (
        {"prefix": "so , ", "return_full_text": False},
        {"clean_up_tokenization_spaces": False, "stop_strings": ["e", "Ī"]},
    ):
        found = ask(text_generation(model, tokenizer, **GREEDY, **settings), TEXTS)
        assert found == by_pipeline(
            model, tokenizer, "text-generation", TEXTS, **GREEDY, **settings
        )


@pytest.mark.parametrize(
    "task",
    [
        "summarization",
        pytest.param("translation", marks=pytest.mark.slow),
        pytest.param("translation_en_to_fr", marks=pytest.mark.slow),
    ],
)
def test_settings_of_a_task(made, monkeypatch, task):
    """T5's prefixes and lengths, for each task its own."""
    model, tokenizer = made(T5)
    monkeypatch.setattr(model.config, "task_specific_params", SPECIFIC, raising=False)
    signature = build(task, model, tokenizer, VARIED)
    assert ask(signature, TEXTS) == by_pipeline(model, tokenizer, task, TEXTS, **VARIED)
    result = "summary_text" if task == "summarization" else "translation_text"
    assert list(signature.function.structured_outputs) == [result]


@pytest.mark.slow
@pytest.mark.parametrize("family", ["mBART", "mBART-50"])
def test_languages(family):
    tokenizer = FAMILIES[family](CORPUS)
    special = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id}
    name = "TFMBartForConditionalGeneration"
    model = getattr(tfhf, name)(config_of(name, vocab_size=len(tokenizer), **special))
    randomize_for_texts(model)
    pipe = tfhf.pipeline("translation", model, tokenizer=tokenizer)
    answers = []
    for languages in (("de_DE", "fr_XX"), ("en_XX", "fr_XX"), ("de_DE", "cs_CZ")):
        told = dict(zip(("src_lang", "tgt_lang"), languages)) | VARIED | BEAMS
        found = ask(translation(model, tokenizer, **told), TEXTS)
        assert found == texts_of(pipe(TEXTS, **told))
        answers.append(found)
    assert answers[0] != answers[1] != answers[2] != answers[0]
    for told, fault in {
        (None, None): "src_lang must be a language of the tokenizer .ar_AR, .*, but is None",
        ("de_DE", "xx"): "tgt_lang must be a language of the tokenizer .*, but is 'xx'",
    }.items():
        with pytest.raises(ValueError, match=fault):
            translation(model, tokenizer, src_lang=told[0], tgt_lang=told[1])


@pytest.mark.parametrize("class_name", [GPT2, pytest.param(BART, marks=pytest.mark.slow)])
def test_ids_without_a_tokenizer(made, class_name):
    model, _ = made(class_name)
    signature = generate(model, num_beams=2, num_return_sequences=2, max_new_tokens=5, **VARIED)
    ids = np.array([[9, 8, 7, 11], [0, 0, 5, 21], [0, 4, 6, 12]], np.int32)
    inputs = {"input_ids": ids, "attention_mask": np.int32(ids > 0)}
    (found,) = signature.function(**{k: tf.constant(v) for k, v in inputs.items()}).values()
    expected = model.generate(
        **inputs, num_beams=2, num_return_sequences=2, max_new_tokens=5, **VARIED
    )
    assert found.shape == (3, 2, expected.shape[1])  # by request, as servers split batches
    np.testing.assert_array_equal(tf.reshape(found, expected.shape), expected)
    assert signature.facts["generation"]["num_beams"] == 2


@pytest.mark.parametrize("class_name", [T5, MARIAN])
def test_a_body_whose_decoder_needs_ids(made, class_name):
    """No text says what they are, so it is served with ids alone."""
    model, tokenizer = made(class_name)
    body = model.base_model
    assert default_task(body) is None
    names = ["input_ids", "attention_mask", "decoder_input_ids", "decoder_attention_mask"]
    assert set(tokens(body).function.structured_input_signature[1]) == set(names)
    with pytest.raises(TypeError, match="TFAutoModel or TFAutoModelForTextEncoding makes, but the"):
        build("feature-extraction", body, tokenizer, {})


def test_a_body_whose_decoder_has_ids_of_its_own(made):
    body = made(BART)[0].base_model
    assert default_task(body) == "feature-extraction"
    assert set(tokens(body).function.structured_input_signature[1]) == {
        "input_ids",
        "attention_mask",
    }


@pytest.mark.slow
def test_sentences_without_tokens(made):
    """Where no special token stands around them."""
    model, tokenizer = made(GPT2)
    settings = {"pooling": ["cls", "mean", "lasttoken"]}
    signature = build("sentence-embeddings", model.base_model, tokenizer, settings)
    found = np.array(ask(signature, [""]))
    size = model.config.n_embd
    assert found.shape == (1, 3 * size) and np.isfinite(found).all()
    assert not found[0, size : 2 * size].any()


@pytest.mark.parametrize(
    ("settings", "error", "fault"),
    [
        ({"max_length": 9}, ValueError, "max_length = 9 counts the tokens of a text.*max_new"),
        ({"min_length": 3}, ValueError, "min_length = 3 counts .* expected min_new_tokens"),
        ({"max_new_tokens": 32}, ValueError, "max_new_tokens = 32 leave no room .* 32 tokens"),
        ({"max_new_token": 3}, TypeError, "generate has no setting max_new_token"),
        ({"num_beams": 0}, ValueError, "num_beams must be at least 1, but is 0"),
    ],
)
def test_impossible_settings(made, settings, error, fault):
    with pytest.raises(error, match=fault):
        text_generation(*made(GPT2), **settings)


def test_impossible_tasks(made):
    gpt2, t5 = made(GPT2), made(T5)
    with pytest.raises(TypeError, match="task: summarization needs a model with its head"):
        build("summarization", *gpt2, {})
    with pytest.raises(TypeError, match="generate has no setting return_full_text"):
        build("summarization", *t5, {"return_full_text": True})
    with pytest.raises(ValueError, match="'translation_xx_to_yy', but is 'translation_en'"):
        build("translation_en", *t5, {})
    small = tfhf.TFT5ForConditionalGeneration(config_of(T5, vocab_size=99))
    with pytest.raises(ValueError, match="tokenizer has .* tokens, but the model knows only 99"):
        summarization(small, t5[1])
