"""A page in the browser that shows what each task does."""

from tfhf.demo.page import launch, make_demo

__all__ = ["launch", "make_demo"]
