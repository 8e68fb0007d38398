"""Sharing: cards of models, and uploads to the Hugging Face Hub."""

from tfhf.hub.callback import PushToHubCallback
from tfhf.hub.model_card import create_model_card, save_model_card
from tfhf.hub.push import push_folder, push_model

__all__ = [
    "PushToHubCallback",
    "create_model_card",
    "push_folder",
    "push_model",
    "save_model_card",
]
