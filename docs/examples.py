"""For mkdocs.yml: what docstrings call ``Example:`` is code, under the heading of examples."""

from typing import Any

import griffe


class Examples(griffe.Extension):
    """Gives the section the name that the parser knows."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Rename it in one docstring."""
        if obj.docstring is not None:
            obj.docstring.value = obj.docstring.value.replace("\nExample:\n", "\nExamples:\n")
