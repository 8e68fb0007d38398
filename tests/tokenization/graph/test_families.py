"""Tokenizers of every family against the `tokenizers` library, on vocabularies trained here."""

import functools
import io
import json
import random
import subprocess
import sys

import numpy as np
import pytest
import sentencepiece
import tensorflow as tf
from sentencepiece.sentencepiece_model_pb2 import ModelProto
from tokenizers import (
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import (
    AlbertTokenizer,
    BartTokenizer,
    BertTokenizer,
    CamembertTokenizer,
    GemmaTokenizer,
    GPT2Tokenizer,
    LlamaTokenizer,
    MBart50Tokenizer,
    MBartTokenizer,
    PegasusTokenizer,
    PreTrainedTokenizerFast,
    RobertaTokenizer,
    T5Tokenizer,
    XLMRobertaTokenizer,
)

from tfhf.tokenization.graph import GraphTokenizer
from tfhf.tokenization.graph.splitting import LLAMA3, QWEN2

ROBERTA_TOKENS = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
BYTE_TOKENS = [f"<0x{byte:02X}>" for byte in range(256)]


def train_bpe(texts, pre_tokenizer, special_tokens, alphabet=(), **arguments):
    """Train merges, and give the vocabulary and the list of them."""
    tokenizer = Tokenizer(models.BPE(**arguments))
    tokenizer.pre_tokenizer = pre_tokenizer
    trainer = trainers.BpeTrainer(
        vocab_size=1000,
        special_tokens=special_tokens,
        initial_alphabet=list(alphabet),
        limit_alphabet=max(256, len(alphabet)),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return model["vocab"], [tuple(merge) for merge in model["merges"]]


def byte_level_bpe(texts, special_tokens, pattern=None):
    pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=pattern is None)
    if pattern is not None:
        split = pre_tokenizers.Split(Regex(pattern), behavior="isolated")
        pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizer])
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    return *train_bpe(texts, pre_tokenizer, special_tokens, alphabet), pre_tokenizer


def byte_fallback_bpe(texts, special_tokens):
    return train_bpe(
        texts,
        pre_tokenizers.Metaspace(),
        special_tokens + BYTE_TOKENS,
        unk_token="<unk>",
        byte_fallback=True,
    )


def unigram(texts, special_tokens, normalizer=None, *, any_white_space=True):
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizer or normalizers.Precompiled(charsmap())
    metaspace = pre_tokenizers.Metaspace()
    split = pre_tokenizers.WhitespaceSplit()
    tokenizer.pre_tokenizer = (
        pre_tokenizers.Sequence([split, metaspace]) if any_white_space else metaspace
    )
    trainer = trainers.UnigramTrainer(
        vocab_size=1000, special_tokens=special_tokens, unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    vocab = json.loads(tokenizer.to_str())["model"]["vocab"]
    return [
        (piece, float(np.float32(score))) for piece, score in vocab
    ]  # as in SentencePiece files


@functools.lru_cache
def charsmap():
    """The normalization that T5, XLM-R and others were trained with, as SentencePiece has it."""
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["a few words are enough"] * 50),
        model_writer=written,
        vocab_size=20,
        hard_vocab_limit=False,
        normalization_rule_name="nmt_nfkc",
        minloglevel=3,
    )
    model = ModelProto()
    model.ParseFromString(written.getvalue())
    return model.normalizer_spec.precompiled_charsmap


def bert(texts):
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special_tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(
        vocab_size=1000, special_tokens=special_tokens, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return BertTokenizer(tokenizer.get_vocab(), clean_up_tokenization_spaces=True)


def gpt2(texts):
    vocab, merges, _ = byte_level_bpe(texts, ["<|endoftext|>"])
    return GPT2Tokenizer(vocab, merges, pad_token="<|endoftext|>", padding_side="left")


def roberta(texts):
    vocab, merges, _ = byte_level_bpe(texts, ROBERTA_TOKENS)
    return RobertaTokenizer(vocab, merges, add_prefix_space=True)


def bart(texts):
    vocab, merges, _ = byte_level_bpe(texts, ROBERTA_TOKENS)
    return BartTokenizer(vocab, merges)


def split_by_pattern(texts, pattern, **arguments):
    """Llama-3's parts, with tokens that no merges lead to."""
    begin, end = "<|begin|>", "<|end|>"
    vocab, merges, pre_tokenizer = byte_level_bpe(texts, [begin, end], pattern)
    vocab |= {"!!": len(vocab), "Ġtest": len(vocab) + 1, "hello": len(vocab) + 2}
    tokenizer = Tokenizer(models.BPE(vocab, [*merges, ("!", "!")], **arguments))
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    template = processors.TemplateProcessing(
        single=f"{begin} $A", pair=f"{begin} $A {begin}:1 $B:1", special_tokens=[(begin, 0)]
    )
    tokenizer.post_processor = processors.Sequence([processors.ByteLevel(), template])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=begin, pad_token=end)


def llama3(texts):
    return split_by_pattern(texts, LLAMA3, ignore_merges=True)


def qwen2(texts):
    return split_by_pattern(texts, QWEN2)


def t5(texts):
    vocab = unigram(texts, ["<pad>", "</s>", "<unk>"])
    return T5Tokenizer(vocab, _spm_precompiled_charsmap=charsmap(), extra_ids=5)


def albert(texts):
    steps = [normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase()]
    special_tokens = ["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"]
    vocab = unigram(texts, special_tokens, normalizers.Sequence(steps))
    return AlbertTokenizer(vocab, _spm_precompiled_charsmap=charsmap())


def xlm_roberta(texts):
    vocab = unigram(texts, ["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    return XLMRobertaTokenizer(vocab, _spm_precompiled_charsmap=charsmap())


def camembert(texts):
    vocab = unigram(texts, ["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    return CamembertTokenizer(vocab=vocab, _spm_precompiled_charsmap=charsmap())


def mbart(texts):
    vocab = unigram(texts, ["<s>", "<pad>", "</s>", "<unk>"])
    return MBartTokenizer(vocab, src_lang="de_DE")


def mbart50(texts):
    vocab = unigram(texts, ["<unk>", "<s>", "</s>"], any_white_space=False)
    return MBart50Tokenizer(vocab, _spm_precompiled_charsmap=charsmap(), src_lang="de_DE")


def pegasus(texts):
    vocab = unigram(texts, ["<pad>", "</s>", "<mask_1>", "<unk>"], any_white_space=False)
    return PegasusTokenizer(vocab, _spm_precompiled_charsmap=charsmap(), offset=4)


def llama2(texts):
    return LlamaTokenizer(*byte_fallback_bpe(texts, ["<unk>", "<s>", "</s>"]), pad_token="</s>")


def llama2_as_before(texts):
    """What tokenizer.json has for Llama-2: spaces are a matter of the normalizer."""
    backend = json.loads(llama2(texts).backend_tokenizer.to_str())
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    prepend = {"type": "Prepend", "prepend": "▁"}
    backend["normalizer"] = {"type": "Sequence", "normalizers": [prepend, replace]}
    backend["pre_tokenizer"] = None
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(backend)), pad_token="</s>"
    )


def gemma(texts):
    vocab, merges = byte_fallback_bpe(texts, ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"])
    return GemmaTokenizer(vocab, merges)


FAMILIES = {
    "BERT": bert,
    "GPT-2": gpt2,
    "RoBERTa": roberta,
    "BART": bart,
    "Llama-3": llama3,
    "Qwen2 without NFC": qwen2,
    "T5": t5,
    "ALBERT": albert,
    "XLM-R": xlm_roberta,
    "CamemBERT": camembert,
    "mBART": mbart,
    "mBART-50": mbart50,
    "Pegasus": pegasus,
    "Llama-2": llama2,
    "Llama-2 as before": llama2_as_before,
    "Gemma": gemma,
}


@pytest.fixture(scope="module")
def tokenizer_of(training_texts):
    return functools.lru_cache(lambda family: FAMILIES[family](training_texts))


@pytest.fixture(params=FAMILIES)
def tokenizer(request, tokenizer_of):
    return tokenizer_of(request.param)


def assert_same_ids(tokenizer, texts, batch=500):
    graph_tokenizer = GraphTokenizer.from_tokenizer(tokenizer, padding=False, truncation=False)
    encode = tf.function(graph_tokenizer, input_signature=[tf.TensorSpec([None], tf.string)])
    for start in range(0, len(texts), batch):
        some = texts[start : start + batch]
        found = encode(tf.constant(some))["input_ids"].to_list()
        for text, ids, expected in zip(some, found, tokenizer(some)["input_ids"], strict=True):
            assert ids == expected or may_differ(tokenizer, text), ascii(text)


def may_differ(tokenizer, text):
    """Unigram's known rest: words of hundreds of pieces, whose scores sum up to more than 2048."""
    is_unigram = isinstance(tokenizer.backend_tokenizer.model, models.Unigram)
    return is_unigram and max(map(len, text.split())) > 400


def test_1500_texts(tokenizer, odd_texts):
    assert_same_ids(tokenizer, odd_texts(1500, seed=60))


@pytest.mark.slow
def test_20000_texts(tokenizer, odd_texts):
    assert_same_ids(tokenizer, odd_texts(20_000, seed=61))


def test_the_texts_put_it_to_the_test(tokenizer, odd_texts):
    """They hold most tokens, and few that are unknown."""
    ids = [token for row in tokenizer(odd_texts(1500, seed=60))["input_ids"] for token in row]
    assert ids.count(tokenizer.unk_token_id) < 0.35 * len(ids)
    assert len(set(ids)) > 0.6 * len(tokenizer)


@pytest.mark.parametrize("side", ["left", "right"])
def test_pairs_truncated_and_padded(tokenizer, side, odd_texts, monkeypatch):
    texts = odd_texts(200, seed=62)
    monkeypatch.setattr(tokenizer, "padding_side", side)
    monkeypatch.setattr(tokenizer, "truncation_side", side)
    found = GraphTokenizer.from_tokenizer(tokenizer, max_length=24)(texts, texts[::-1])
    expected = tokenizer(texts, texts[::-1], padding=True, truncation=True, max_length=24)
    assert set(found) == set(expected)
    for name, rows in expected.items():
        assert found[name].numpy().tolist() == rows, name


def test_empty_batch_and_empty_texts(tokenizer):
    graph_tokenizer = GraphTokenizer.from_tokenizer(tokenizer, padding=False)
    assert graph_tokenizer(tf.constant([], tf.string))["input_ids"].to_list() == []
    texts = ["", " ", "\n", "a", "\0"]
    assert graph_tokenizer(texts)["input_ids"].to_list() == tokenizer(texts)["input_ids"]
    assert graph_tokenizer.decode(tf.zeros([0, 3], tf.int32)).shape == (0,)
    assert graph_tokenizer.decode(tf.zeros([2, 0], tf.int32)).numpy().tolist() == [b"", b""]


@pytest.mark.parametrize("skip_special_tokens", [False, True])
def test_decoding(tokenizer, skip_special_tokens, odd_texts):
    rng = random.Random(64)
    size = max(tokenizer.get_vocab().values()) + 1
    rows = tokenizer(odd_texts(500, seed=64))["input_ids"]
    rows += [[rng.randrange(size) for _ in range(rng.randrange(12))] for _ in range(1000)]
    graph_tokenizer = GraphTokenizer.from_tokenizer(tokenizer, padding=False)
    ids = tf.ragged.constant(rows, tf.int64)
    found = graph_tokenizer.decode(ids, skip_special_tokens=skip_special_tokens).numpy()
    expected = tokenizer.batch_decode(rows, skip_special_tokens=skip_special_tokens)
    for row, text, expected_text in zip(rows, found, expected, strict=True):
        assert text.decode() == expected_text, tokenizer.convert_ids_to_tokens(row)


LOADER = """
import json, sys
import tensorflow as tf
import tensorflow_text
folder, texts = json.load(sys.stdin)
signatures = tf.saved_model.load(folder).signatures
assert not any(name.split(".")[0] in ("tfhf", "transformers", "tokenizers") for name in sys.modules)
answers = {}
for name, signature in signatures.items():
    outputs = signature(text=tf.constant(texts))
    decoded = [text.decode() for text in outputs["decoded"].numpy()]
    answers[name] = [outputs["input_ids"].numpy().tolist(), decoded]
json.dump(answers, sys.stdout)
"""


@pytest.mark.parametrize(
    "families",
    [
        pytest.param(["RoBERTa", "Llama-3", "T5", "Llama-2"], id="some"),
        pytest.param(list(FAMILIES), id="all", marks=pytest.mark.slow),
    ],
)
def test_loaded_in_a_fresh_process(families, tokenizer_of, odd_texts, tmp_path):
    """Several families in one SavedModel, each with a signature and with pieces of its own."""
    module = tf.Module()
    module.tokenizers = [
        GraphTokenizer.from_tokenizer(tokenizer_of(family), max_length=24) for family in families
    ]

    def signature_of(graph_tokenizer):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "text")])
        def encode_and_decode(text):
            ids = graph_tokenizer(text)["input_ids"]
            return {"input_ids": ids, "decoded": graph_tokenizer.decode(ids)}

        return encode_and_decode

    signatures = {
        f"family_{index}": signature_of(graph_tokenizer)
        for index, graph_tokenizer in enumerate(module.tokenizers)
    }
    tf.saved_model.save(module, str(tmp_path), signatures=signatures)
    texts = odd_texts(300, seed=63)
    run = subprocess.run(
        [sys.executable, "-c", LOADER],
        input=json.dumps([str(tmp_path), texts]),
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert run.returncode == 0, run.stderr
    answers = json.loads(run.stdout)
    for index, family in enumerate(families):
        found, decoded = answers[f"family_{index}"]
        tokenizer = tokenizer_of(family)
        ids = tokenizer(texts, padding=True, truncation=True, max_length=24)["input_ids"]
        assert found == ids, family
        assert decoded == tokenizer.batch_decode(ids, skip_special_tokens=True), family
