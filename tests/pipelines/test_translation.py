"""Translations, against what Transformers 4.57.6 answers."""

import pytest
import transformers
from golden import FIXTURES, answer, make, parameters, same

import tfhf

TASK = "translation"


def repeats(case):
    """Whether BART shows what T5 shows, too: each set of options is compiled anew."""
    return case["checkpoint"] == "bart" and bool(case["call"] or case["options"])


@pytest.mark.parametrize("case", parameters(TASK, slow=repeats))
def test_golden(case):
    same(answer(TASK, case), case["result"])


def test_prefix_of_the_languages():
    folder = str(FIXTURES / TASK / "t5")
    assert tfhf.pipeline("translation_en_to_fr", folder).prefix == "English to fr: "
    first = tfhf.pipeline("translation", folder)
    assert (first.task, first.prefix) == ("translation_en_to_de", "English to de: ")
    assert tfhf.pipeline("translation_en_to_ro", folder).prefix is None


def test_languages_of_a_model_of_many():
    tokenizer = transformers.MBart50Tokenizer()
    config = transformers.BartConfig(
        vocab_size=len(tokenizer),
        d_model=8,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        max_position_embeddings=20,
    )
    model = tfhf.TFBartForConditionalGeneration(config)
    target = tokenizer.convert_tokens_to_ids("fr_XX")
    named = tfhf.pipeline("translation_en_to_fr", model, tokenizer=tokenizer)
    assert named.settle().languages == ("en", "fr")
    pipe = tfhf.pipeline(TASK, model, tokenizer=tokenizer, return_tensors=True, max_length=5)
    ours = pipe(["a", "a b"], src_lang="en_XX", tgt_lang="fr_XX")
    assert [each["translation_token_ids"][1] for each in ours] == [target] * 2
    with pytest.raises(ValueError, match="requires a `src_lang` and a `tgt_lang`"):
        pipe("a")


def test_warning(caplog):
    make(TASK, "bart")("The film is long and dull.", max_length=8)
    assert "its translation at most max_length=8: it may be cut off" in caplog.text
