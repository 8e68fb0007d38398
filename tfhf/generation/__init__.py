"""Text from models: ``model.generate(…)``, what shapes its choices, and what shows them."""

from tfhf.generation.generate import generate
from tfhf.generation.streamers import TextIteratorStreamer, TextStreamer

__all__ = ["TextIteratorStreamer", "TextStreamer", "generate"]
