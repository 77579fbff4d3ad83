"""Blocks with blocks in them: ``columns`` (spec responsive.md 8.3), ``container``."""

from __future__ import annotations

from collections.abc import Sequence

from relayq.compose.responsive.blocks.frame import Block, Inner
from relayq.compose.responsive.markup import TABLE_END, TABLE_START, background, decimal, read_look, tag
from relayq.compose.responsive.values import Node

_CELLS = 12
"""Of the grid."""

_LEAST_REST = 0.01
"""Cells; less is an error of rounding."""


def render_container(block: Block) -> Inner:
    """Blocks one below the other."""
    entries = block.node.entries("blocks")
    if entries is None:
        raise block.node.missing("blocks")
    rows = block.page.rows(entries, block.inside(block.width))
    return Inner(f"\n{rows.table()}\n", rows.texts, is_cell_main=True)


def render_columns(block: Block) -> Inner:
    """Blocks side by side, one below the other on small screens."""
    if block.place.is_in_columns:
        raise block.node.faults.leave_out(block.node.path, "columns inside columns")
    columns = list(block.node.objects("columns"))
    if not columns:
        raise block.node.missing("columns")
    if len(columns) > _CELLS:
        raise block.node.faults.leave_out(block.node.path, f"more than {_CELLS} columns")
    cells: list[str] = []
    texts: list[str] = []
    sizes = _sizes(columns)
    for column, size in zip(columns, sizes, strict=True):
        rows = block.page.rows(
            column.entries("blocks") or (),
            block.inside(max(int(block.width * size / _CELLS + 0.5), 1), is_in_columns=True),
        )
        share = f"{decimal(size / _CELLS * 100)}%"
        start = tag(
            "td",
            (("class", "re-col"), ("width", share), ("valign", "top")),
            (f"width:{share}", "vertical-align:top", background(column)),
            read_look(column.node("container")),
        )
        cells.append(f"{start}\n{rows.table()}\n</td>\n")
        texts += rows.texts
    cells.append(_rest(_CELLS - sum(sizes)))
    return Inner(f"\n{TABLE_START}<tr>\n{''.join(cells)}</tr>\n{TABLE_END}\n", tuple(texts), is_cell_main=True)


def _rest(size: float) -> str:
    """An empty cell for what columns leave of the row, which would be shared out among them otherwise."""
    if size < _LEAST_REST:
        return ""
    share = f"{decimal(size / _CELLS * 100)}%"
    return f'<td class="re-desktop" width="{share}" style="width:{share};font-size:0;line-height:0">&nbsp;</td>\n'


def _sizes(columns: Sequence[Node]) -> list[float]:
    """Cells of each column: the unset ones share what is left, and too many cells are scaled down."""
    given = [_size(column) for column in columns]
    unset = given.count(None)
    left = _CELLS - sum(size for size in given if size is not None)
    share = left / unset if unset and left > 0 else _CELLS / len(columns)
    sizes = [share if size is None else size for size in given]
    total = sum(sizes)
    return [size * _CELLS / total for size in sizes] if total > _CELLS else sizes


def _size(column: Node) -> float | None:
    size = column.number("size")
    if size is not None and not 1 <= size <= _CELLS:
        column.faults.fail(f"{column.path}.size", f"expected a number from 1 to {_CELLS}")
        return None
    return size
