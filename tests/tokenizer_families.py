"""Tokenizers of every family, on vocabularies trained on the spot."""

import functools
import io
import json

import numpy as np
import sentencepiece
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
    DebertaV2Tokenizer,
    GemmaTokenizer,
    GPT2Tokenizer,
    GPTNeoXTokenizer,
    LlamaTokenizer,
    MBart50Tokenizer,
    MBartTokenizer,
    PegasusTokenizer,
    PreTrainedTokenizerFast,
    Qwen2Tokenizer,
    RobertaTokenizer,
    T5Tokenizer,
    XLMRobertaTokenizer,
    XLNetTokenizer,
)

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
    vocab, merges, _ = byte_level_bpe(texts, ["<|endoftext|>"], QWEN2)
    return Qwen2Tokenizer(vocab, merges)


def qwen2_with_tokens_never_merged(texts):
    return split_by_pattern(texts, QWEN2)


def gpt_neox(texts):
    vocab, merges, _ = byte_level_bpe(texts, ["<|endoftext|>", "<|padding|>"])
    return GPTNeoXTokenizer(vocab, merges)


def t5(texts):
    vocab = unigram(texts, ["<pad>", "</s>", "<unk>"])
    return T5Tokenizer(vocab, _spm_precompiled_charsmap=charsmap(), extra_ids=5)


def albert(texts):
    steps = [normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase()]
    special_tokens = ["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"]
    vocab = unigram(texts, special_tokens, normalizers.Sequence(steps))
    return AlbertTokenizer(vocab, _spm_precompiled_charsmap=charsmap())


def xlnet(texts):
    steps = [normalizers.NFKD(), normalizers.StripAccents()]
    special_tokens = ["<unk>", "<s>", "</s>", "<cls>", "<sep>", "<pad>", "<mask>"]
    vocab = unigram(texts, special_tokens, normalizers.Sequence(steps))
    return XLNetTokenizer(vocab, _spm_precompiled_charsmap=charsmap(), padding_side="left")


def deberta_v2(texts):
    special_tokens = ["[PAD]", "<unk>", "[CLS]", "[SEP]", "[MASK]"]
    normalizer = normalizers.Sequence([normalizers.Replace("\n", " "), normalizers.NFC()])
    vocab = unigram(texts, special_tokens, normalizer, any_white_space=False)
    return DebertaV2Tokenizer(vocab, unk_token="<unk>", do_lower_case=True)


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
    "Qwen2": qwen2,
    "Qwen2 with tokens never merged": qwen2_with_tokens_never_merged,
    "GPT-NeoX": gpt_neox,
    "T5": t5,
    "ALBERT": albert,
    "XLNet": xlnet,
    "DeBERTa-v2": deberta_v2,
    "XLM-R": xlm_roberta,
    "CamemBERT": camembert,
    "mBART": mbart,
    "mBART-50": mbart50,
    "Pegasus": pegasus,
    "Llama-2": llama2,
    "Llama-2 as before": llama2_as_before,
    "Gemma": gemma,
}
