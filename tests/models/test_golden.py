"""Every head against numbers that PyTorch computed once (tools/parity_fixtures), without it."""

from pathlib import Path

import numpy as np
import pytest
from parity import TOLERANCE, heads_of
from safetensors.numpy import load_file

import tfhf
from tfhf.models.names import MODELS

FIXTURES = Path(__file__).parents[1] / "fixtures"


def families():
    for names in MODELS.values():
        base = next(name for name in names if name.endswith("PreTrainedModel"))
        yield base.removeprefix("TF").removesuffix("PreTrainedModel")


@pytest.mark.parametrize(
    "name", [family + head for family in families() for head in heads_of(family)]
)
def test_golden(name):
    folder = FIXTURES / name
    model, info = getattr(tfhf, f"TF{name}").from_pretrained(folder, output_loading_info=True)
    assert not any(info.values()), info
    golden = load_file(folder / "golden.safetensors")
    for case in {key.split("/")[0] for key in golden}:
        start = f"{case}/inputs/"
        inputs = {k.removeprefix(start): v for k, v in golden.items() if k.startswith(start)}
        outputs = model(**inputs, output_attentions=True, output_hidden_states=True)
        expected = [key for key in golden if key.startswith(f"{case}/outputs/")]
        assert expected
        for key in expected:
            _, _, output, i = key.split("/")
            got = outputs[output]
            got = got[int(i)] if isinstance(got, tuple) else got
            np.testing.assert_allclose(got, golden[key], rtol=0, atol=TOLERANCE, err_msg=key)
