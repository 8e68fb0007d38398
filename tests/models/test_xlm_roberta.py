"""XLM-RoBERTa against PyTorch: RoBERTa's configurations."""

import pytest
from parity import ParityTests
from test_roberta import CONFIGS
from transformers import XLMRobertaConfig

# The code is RoBERTa's, whose tests are among the fast ones.
pytestmark = pytest.mark.slow


class TestXLMRoberta(ParityTests):
    family = "XLMRoberta"
    configs = {name: XLMRobertaConfig(**options) for name, options in CONFIGS.items()}
