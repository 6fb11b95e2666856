"""A report as a list of blocks, written as Markdown and as one HTML page that needs no other file."""

import base64
import dataclasses
import html
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1d2733; background: #fff; max-width: 1180px; margin: 2rem auto;
       padding: 0 1.2rem; }
h1 { font-size: 1.9rem; line-height: 1.2; }
h2 { font-size: 1.3rem; margin-top: 2.4rem; border-bottom: 1px solid #d7dde4; padding-bottom: .3rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .92rem; }
th, td { padding: .35rem .7rem; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
td.text, th.text { text-align: left; white-space: normal; }
thead th { border-bottom: 2px solid #1d2733; vertical-align: bottom; }
tbody tr:nth-child(even) { background: #f4f6f8; }
tbody tr.rule td { border-top: 1px solid #1d2733; }
tbody tr.bad { background: #fbe3e3; }
tbody tr.doubtful { background: #fdf3d9; }
td { vertical-align: top; }
td img { display: block; width: 660px; }
figure { margin: 1.2rem 0; }
figure img { max-width: 100%; height: auto; }
figcaption { color: #52606d; font-size: .92rem; max-width: 60rem; }
pre { background: #f4f6f8; padding: .8rem; overflow-x: auto; font-size: .85rem; }
"""


@dataclasses.dataclass(frozen=True)
class Heading:
    """A heading; level 1 is the title."""

    text: str
    level: int = 2


@dataclasses.dataclass(frozen=True)
class Paragraph:
    """A paragraph of plain text."""

    text: str


@dataclasses.dataclass(frozen=True)
class Linked:
    """A picture in a cell that stays a file of its own, for there may be thousands; loaded when it is looked at.

    Attributes:
      path: relative to the page, with slashes.
    """

    path: str


Cell = str | Linked


@dataclasses.dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
      header: one text a column. The first column is text, the others are figures, aligned to the right.
      rows: as many cells each.
      rules: rows above which a line is drawn (in HTML), by index.
      texts: further columns that hold text.
      marks: `bad` or `doubtful` by index of the rows that are coloured so (in HTML).
    """

    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    rules: Sequence[int] = ()
    texts: Sequence[int] = ()
    marks: Mapping[int, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.header):
                raise ValueError(f"rows: expected {len(self.header)} columns, got {len(row)}: {row[0] if row else ''}")


@dataclasses.dataclass(frozen=True)
class Picture:
    """A PNG file with what is to be seen in it."""

    path: Path
    caption: str


@dataclasses.dataclass(frozen=True)
class Listing:
    """Text as it is, in a fixed pitch."""

    text: str


Block = Heading | Paragraph | Table | Picture | Listing


def markdown(blocks: Sequence[Block], folder: Path) -> str:
    """The report in Markdown.

    Args:
      blocks: of the report.
      folder: where the text will lie; pictures are named relative to it.
    """
    return "\n\n".join(_markdown(block, folder) for block in blocks) + "\n"


def page(title: str, blocks: Sequence[Block]) -> str:
    """The report as one HTML page, pictures inside.

    Args:
      title: of the window.
      blocks: of the report.

    Raises:
      FileNotFoundError: If a picture is not there.
    """
    body = "\n".join(_html(block) for block in blocks)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def with_deviation(entry: Mapping[str, Any] | None, digits: int) -> str:
    """Mean and, where there is one, standard deviation of a summary; `-` for none."""
    if entry is None or entry["mean"] is None:
        return "-"
    deviation = "" if entry["std"] is None else f" ± {entry['std']:.{digits}f}"
    return f"{entry['mean']:.{digits}f}{deviation}"


def _markdown(block: Block, folder: Path) -> str:
    if isinstance(block, Heading):
        return f"{'#' * block.level} {block.text}"
    if isinstance(block, Paragraph):
        return block.text
    if isinstance(block, Listing):
        return f"```\n{block.text}\n```"
    if isinstance(block, Picture):
        relative = Path(os.path.relpath(block.path, folder)).as_posix()
        return f"![{block.caption}]({relative})\n\n*{block.caption}*"
    left = {0, *block.texts}
    cells = [[_markdown_cell(cell) for cell in row] for row in (block.header, *block.rows)]
    widths = [max(3, *(len(row[column]) for row in cells)) for column in range(len(block.header))]
    rule = [("-" * width if k in left else "-" * (width - 1) + ":") for k, width in enumerate(widths)]
    lines = [
        " | ".join(
            cell.ljust(width) if k in left else cell.rjust(width)
            for k, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in (cells[0], rule, *cells[1:])
    ]
    return "\n".join(f"| {line} |" for line in lines)


def _markdown_cell(cell: Cell) -> str:
    return f"![]({cell.path})" if isinstance(cell, Linked) else cell.replace("|", "\\|")


def _html(block: Block) -> str:
    if isinstance(block, Heading):
        return f"<h{block.level}>{html.escape(block.text)}</h{block.level}>"
    if isinstance(block, Paragraph):
        return f"<p>{html.escape(block.text)}</p>"
    if isinstance(block, Listing):
        return f"<pre>{html.escape(block.text)}</pre>"
    if isinstance(block, Picture):
        content = base64.b64encode(block.path.read_bytes()).decode("ascii")
        caption = html.escape(block.caption, quote=True)
        return (
            f'<figure><img src="data:image/png;base64,{content}" alt="{caption}">'
            f"<figcaption>{caption}</figcaption></figure>"
        )
    header = "".join(_cell("th", text, column in block.texts) for column, text in enumerate(block.header))
    rows = []
    for index, row in enumerate(block.rows):
        classes = [*(["rule"] if index in block.rules else []), *([block.marks[index]] if index in block.marks else [])]
        opening = f'<tr class="{" ".join(classes)}">' if classes else "<tr>"
        cells = "".join(_cell("td", cell, column in block.texts) for column, cell in enumerate(row))
        rows.append(f"{opening}{cells}</tr>")
    return (
        f'<div class="scroll"><table>\n<thead><tr>{header}</tr></thead>\n<tbody>\n'
        + "\n".join(rows)
        + "\n</tbody></table></div>"
    )


def _cell(tag: str, cell: Cell, is_text: bool) -> str:
    opening = f'<{tag} class="text">' if is_text else f"<{tag}>"
    if isinstance(cell, Linked):
        return f'{opening}<img loading="lazy" alt="" src="{html.escape(cell.path)}"></{tag}>'
    return f"{opening}{html.escape(cell)}</{tag}>"
