"""HTML and SVG as text that cannot forget to escape; no page, no colours, no numbers.

``Markup`` is a type of its own: a plain string becomes one only through ``text``, so that mypy finds the name that
was about to reach the page unescaped.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping
from typing import NewType

Markup = NewType("Markup", str)
NOTHING = Markup("")

_VOID = frozenset({"meta", "link", "img", "br", "hr"})
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9:-]*\Z")
# What would reorder, hide or break the text around it: C0 and C1 controls but tab and newline, marks that change the
# writing direction, invisible separators, lone surrogates and the non-characters that XML forbids.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ufffe\uffff"
    "\ud800-\udfff\U000e0000-\U000e0fff]"
)


def visible(raw: str) -> str:
    r"""Write control, direction and invisible characters as their code points, so that no name can disguise itself.

    Example:
        >>> visible("cat\u202egpj.exe")
        'cat⟨U+202E⟩gpj.exe'
    """
    return _UNSAFE.sub(lambda match: f"⟨U+{ord(match.group()):04X}⟩", raw)


def text(raw: str) -> Markup:
    """Escape a string for an element's content or an attribute; the only way from string to markup."""
    return Markup(html.escape(visible(raw), quote=True))


def join(parts: Iterable[Markup], between: Markup = NOTHING) -> Markup:
    """Set pieces of markup one after the other."""
    return Markup(between.join(parts))


def element(name: str, attributes: Mapping[str, str], *children: Markup) -> Markup:
    """Build one element from raw attribute values, which are escaped here, and children, which already are.

    Args:
        name: Tag name, ours and never the document's.
        attributes: Attribute names (ours) to raw values; an attribute that is present has a value, even an empty one.
        children: Markup inside; none for a void element such as ``img``.

    Example:
        >>> element("b", {"title": 'a "quote"'}, text("<x>"))
        '<b title="a &quot;quote&quot;">&lt;x&gt;</b>'
    """
    assert _NAME.match(name)
    assert all(_NAME.match(key) for key in attributes)
    pairs = "".join(f' {key}="{text(value)}"' for key, value in attributes.items())
    if name in _VOID:
        assert not children
        return Markup(f"<{name}{pairs}>")
    return Markup(f"<{name}{pairs}>{''.join(children)}</{name}>")


def label(raw: str) -> Markup:
    """Show a foreign name (file, class, engine) isolated, so that its writing direction stays its own."""
    return element("bdi", {}, text(raw))
