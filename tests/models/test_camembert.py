"""CamemBERT against PyTorch: RoBERTa's configurations."""

from parity import ParityTests
from test_roberta import CONFIGS
from transformers import CamembertConfig


class TestCamembert(ParityTests):
    family = "Camembert"
    configs = {name: CamembertConfig(**options) for name, options in CONFIGS.items()}
