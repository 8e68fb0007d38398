"""XLM-RoBERTa against PyTorch: RoBERTa's configurations."""

from parity import ParityTests
from test_roberta import CONFIGS
from transformers import XLMRobertaConfig


class TestXLMRoberta(ParityTests):
    family = "XLMRoberta"
    configs = {name: XLMRobertaConfig(**options) for name, options in CONFIGS.items()}
