"""What loading a large checkpoint takes beside the model itself."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from transformers import LlamaConfig

import tfhf

CHILD = textwrap.dedent("""
    import sys
    import tfhf

    small, large = sys.argv[1:]
    tfhf.TFLlamaForCausalLM.from_pretrained(small, dtype="auto")  # what TensorFlow itself takes
    print("ready", flush=True)
    sys.stdin.readline()
    model = tfhf.TFLlamaForCausalLM.from_pretrained(large, dtype="auto")
    print({weight.dtype for weight in model.weights} == {"bfloat16"}, flush=True)
""")


def save(folder: Path, **sizes: int) -> int:
    """Write a bfloat16 Llama in shards; return its size in bytes."""
    config = LlamaConfig(vocab_size=8000, num_attention_heads=8, num_key_value_heads=2, **sizes)
    model = tfhf.TFLlamaForCausalLM(config, dtype="bfloat16")
    model.save_pretrained(folder, max_shard_size="50MB")
    return 2 * model.num_parameters()


def memory(process: int) -> int:
    """Return the bytes of a process, those of mapped files too."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_sharded_bfloat16_is_loaded_without_a_second_copy(tmp_path):
    small, large = tmp_path / "small", tmp_path / "large"
    save(small, hidden_size=64, intermediate_size=64, num_hidden_layers=1)
    size = save(large, hidden_size=1024, intermediate_size=2816, num_hidden_layers=8)
    index = json.loads((large / "model.safetensors.index.json").read_text())
    assert len(set(index["weight_map"].values())) >= 4 and 180e6 < size < 250e6

    command = [sys.executable, "-c", CHILD, str(small), str(large)]
    # What is freed goes back at once, as it does where the matrices of a model are larger.
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "MALLOC_MMAP_THRESHOLD_": "1000000"}
    with subprocess.Popen(
        command, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout.readline() == "ready\n"
        before = peak = memory(child.pid)
        child.stdin.write("\n")
        child.stdin.flush()
        os.set_blocking(child.stdout.fileno(), False)
        while not (line := child.stdout.readline()):
            assert child.poll() is None
            peak = max(peak, memory(child.pid))
    assert line == "True\n"
    assert size <= peak - before < 1.15 * size
