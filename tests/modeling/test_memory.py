"""Memory stays flat when the same work is done again and again."""

import subprocess
import sys
import textwrap

import pytest

MEGABYTES = 12

PROGRAM = """
    import ctypes
    import gc
    import sys
    import numpy as np
    import psutil
    import tensorflow as tf
    from transformers import BertConfig
    import tfhf

    config = BertConfig(vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
                        intermediate_size=12, max_position_embeddings=32)
    model = tfhf.TFBertForSequenceClassification(config)
    model.compile("sgd", metrics=["accuracy"])
    rng = np.random.default_rng(0)

    def padded_batches():
        for length in range(2, 32):
            ids = rng.integers(0, 20, (4, length))
            yield {"input_ids": ids, "labels": ids[:, 0] % 2}

    def work():
        spec = {"input_ids": tf.TensorSpec((None, None), tf.int64),
                "labels": tf.TensorSpec((None,), tf.int64)}
        data = tf.data.Dataset.from_generator(padded_batches, output_signature=spec)
        model.fit(data, verbose=0)
        model.evaluate(data, verbose=0)
        model.predict(data, verbose=0)
        ids = rng.integers(0, 20, (32, 7))
        model.fit({"input_ids": ids}, ids[:, 0] % 2, verbose=0)
        model({"input_ids": ids, "labels": ids[:, 0] % 2})
        if "export" in sys.argv:
            model.export(sys.argv[1])

    def megabytes(repetitions):
        for _ in range(repetitions):
            work()
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        return psutil.Process().memory_info().rss / 2**20

    before = megabytes(6)
    print(megabytes(12) - before)
"""


@pytest.mark.slow
@pytest.mark.parametrize("export", [False, True])
def test_repeated_work(tmp_path, export):
    arguments = [tmp_path / "exports", *["export"] * export]
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(PROGRAM), *arguments],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < MEGABYTES
