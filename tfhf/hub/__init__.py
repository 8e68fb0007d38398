"""Sharing: upload of saved models to the Hugging Face Hub."""

from tfhf.hub.push import push_folder, push_model

__all__ = ["push_folder", "push_model"]
