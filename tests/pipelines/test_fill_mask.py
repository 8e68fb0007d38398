"""Words for masks, against what Transformers 4.57.6 answers."""

import pytest
import transformers
from golden import answer, load, make, parameters, same

import tfhf

TASK = "fill-mask"


@pytest.mark.parametrize("case", parameters(TASK))
def test_golden(case):
    same(answer(TASK, case), case["result"])


def test_targets_for_several_masks():
    pipe = make(TASK, "bert")
    text, ids = "the [MASK] [MASK]", [pipe.tokenizer.convert_tokens_to_ids(w) for w in ("a", "the")]
    everything = pipe(text, top_k=10_000)
    targets = pipe(text, targets=["a", "the"])
    assert len(targets) == 2
    for ours, theirs in zip(targets, everything):
        same(ours, [found for found in theirs if found["token"] in ids])


def test_wrong_use():
    pipe = make(TASK, "bert")
    with pytest.raises(tfhf.PipelineException, match=r"No mask_token \(\[MASK\]\) found on the in"):
        pipe(["a [MASK]", "none"])
    with pytest.raises(ValueError, match="At least one target must be provided"):
        pipe("a [MASK]", targets=[""])
    with pytest.raises(ValueError, match="an input must be a string, but is None"):
        pipe([None])
    model, tokenizer = load(TASK, "bert")
    blank = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer)
    with pytest.raises(tfhf.PipelineException, match="does not define a `mask_token`"):
        tfhf.pipeline(TASK, model, tokenizer=blank)
