"""For the site: docstrings as this package writes them, to Markdown. An extension of griffe, which reads them."""

import re
from typing import Any

from griffe import Attribute, Docstring, Extension, NameResolutionError, Object


SECTION = re.compile(r"(Args|Returns|Raises|Yields):")
TITLES = {"Args": "Arguments"}
# `name`, several of them, or an exception, then a type in parentheses or a colon
ITEM = re.compile(r"(\**[\w.]+(?:, \**[\w.]+)*)(?= \(|:|$)")
# as docstrings of transformers write it; `~` hides all but the last part of the name
REFERENCE = re.compile(r"\[`(~?)([\w.]+)(\(\))?`\](?![\[(])")


class PackageDocstrings(Extension):
    """
    Sections become lists, and [`Name`] a link where the site has a place with that name. What a comment says above a
    module's constant is its docstring.
    """

    def on_attribute(self, *, attr: Attribute, **kwargs: Any) -> None:
        if attr.docstring is None and attr.parent is not None and attr.parent.is_module:
            comment = comment_above(attr.lines_collection[attr.filepath], attr.lineno)
            attr.docstring = Docstring(comment or "A constant.", parent=attr)

    def on_object(self, *, obj: Object, **kwargs: Any) -> None:
        if obj.docstring is not None:
            text = sections_to_lists(obj.docstring.value)
            obj.docstring.value = REFERENCE.sub(lambda found: _link(obj, *found.groups()), text)


def comment_above(lines: list[str], number: int) -> str:
    """The text of the comment that ends before line `number`, from 1; empty if there is none."""
    start = number - 1
    while start > 0 and lines[start - 1].startswith("#"):
        start -= 1
    return "\n".join(line.lstrip("# ") for line in lines[start : number - 1])


def sections_to_lists(text: str) -> str:
    """
    `Args:` and `Raises:` as a title and a list, `Returns:` and `Yields:` as a title and paragraphs; everything else as
    it stands. `text` is a docstring without its indentation.
    """
    lines, section = [], None
    for line in text.split("\n"):
        if title := SECTION.match(line):
            section = title[1]
            rest = line[title.end() :].strip()
            lines += ["", f"**{TITLES.get(section, section)}**", "", *([rest] if rest else [])]
        elif section is not None and line.startswith("    "):
            lines.append(_section_line(section, line[4:]))
        else:
            section = section if not line else None
            lines.append(line)
    return "\n".join(lines)


def _section_line(section: str, line: str) -> str:
    """A line of a section, less its indentation."""
    if section in ("Returns", "Yields"):
        return line
    if line.startswith(" "):
        return line  # goes on with the item above
    item = ITEM.match(line)
    return f"- **{item[1]}**{line[item.end() :]}" if item else f"- {line}"


def _link(obj: Object, short: str, name: str, call: str | None) -> str:
    """Optional: a name without a place on the site, as a private one, is set as code and no warning."""
    try:
        path = obj.resolve(name)
    except NameResolutionError:
        path = name
    text = name.rpartition(".")[2] if short else name
    return f'<autoref optional identifier="{path}"><code>{text}{call or ""}</code></autoref>'
