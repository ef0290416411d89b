"""Equations as MathML, which browsers draw without a script: an extension of Markdown."""

import re
from typing import Any
from xml.etree.ElementTree import Element

from latex2mathml.converter import convert, convert_to_element
from markdown import Extension, Markdown
from markdown.inlinepatterns import InlineProcessor


class _InlineMath(InlineProcessor):
    """$LaTeX$ within a line."""

    def handleMatch(self, m: re.Match[str], data: str) -> tuple[Element, int, int]:
        return convert_to_element(m[1]), m.start(0), m.end(0)


class MathExtension(Extension):
    """Equations within lines; format_math is for those that are a block."""

    def extendMarkdown(self, md: Markdown) -> None:
        md.inlinePatterns.register(_InlineMath(r"\$([^$\n]+)\$", md), "math", 185)


def makeExtension(**settings: Any) -> MathExtension:
    """Called by Markdown, which has `equations` among its extensions."""
    return MathExtension(**settings)


def format_math(source: str, *_: Any, **__: Any) -> str:
    """A math block; called by pymdownx.superfences."""
    return convert(source, display="block")
