"""Chapter 2: tokenizers: words, characters, subwords; tokens to ids and back.

    python recipes/course/chapter2_tokenizers.py

uses the vocabulary of the demo's MiniLM, which is BERT's. Run time: 10 seconds on 2 CPU cores.
"""

import sys
import tempfile
from pathlib import Path

import tfhf

sys.path.insert(0, str(Path(__file__).parents[1]))
from film_reviews import checkpoint as minilm

TEXT = "Using a Transformer network is simple"


def main() -> None:
    """Go the way of a text through a tokenizer, both ways."""
    print("words     ", TEXT.split())
    print("characters", list(TEXT))

    tokenizer = tfhf.AutoTokenizer.from_pretrained(minilm())
    tokens = tokenizer.tokenize(TEXT)
    print("subwords  ", tokens)
    ids = tokenizer.convert_tokens_to_ids(tokens)
    print("ids       ", ids)
    print("decoded   ", tokenizer.decode(ids))

    # Called as a function, it adds the tokens that the model was trained with.
    whole = tokenizer(TEXT)["input_ids"]
    assert whole == [tokenizer.cls_token_id, *ids, tokenizer.sep_token_id]
    print("with special tokens", tokenizer.decode(whole))

    folder = tempfile.mkdtemp()
    tokenizer.save_pretrained(folder)
    assert tfhf.AutoTokenizer.from_pretrained(folder)(TEXT)["input_ids"] == whole
    print("saved     ", sorted(path.name for path in Path(folder).iterdir()))


if __name__ == "__main__":
    main()
