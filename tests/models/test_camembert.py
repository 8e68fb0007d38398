"""CamemBERT against PyTorch: RoBERTa's configurations."""

import pytest
from parity import ParityTests
from test_roberta import CONFIGS
from transformers import CamembertConfig

# The code is RoBERTa's, whose tests are among the fast ones.
pytestmark = pytest.mark.slow


class TestCamembert(ParityTests):
    family = "Camembert"
    configs = {name: CamembertConfig(**options) for name, options in CONFIGS.items()}
