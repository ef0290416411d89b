"""Examples in docstrings (>>> lines) as code blocks of the API page: an extension of griffe."""

import re
from typing import Any

from griffe import Extension, Object

EXAMPLE = re.compile(r"^>>> .*?(?=\n\n|\Z)", re.MULTILINE | re.DOTALL)


class Examples(Extension):
    """Puts each example into a fence, which Markdown needs to see it as code."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        if obj.docstring:
            fenced = EXAMPLE.sub(r"```pycon\n\g<0>\n```", obj.docstring.value)
            obj.docstring.value = fenced
