"""A pandas table as Qt shows it: the genes that differ between clusters, the scores of every gene."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd
from qtpy.QtCore import QAbstractTableModel, QModelIndex, Qt


class Table(QAbstractTableModel):
    """Sorting is pandas' own, so that 100,000 rows take milliseconds; only rows in view are put into ``words(value, column)``.

    ``titles`` and ``tips`` are by column. ``rows`` are those shown, in their order.
    """

    def __init__(
        self, frame: pd.DataFrame, words: Callable[[Any, str], str], tips: Callable[[str], str | None], titles: Mapping[str, str] | None = None
    ):
        super().__init__()
        self.whole = self.rows = frame
        self._words, self._tips, self._titles = words, tips, titles or {}
        self._order: tuple[str, bool] | None = None

    def rowCount(self, parent: QModelIndex | None = None) -> int:
        return len(self.rows)

    def columnCount(self, parent: QModelIndex | None = None) -> int:
        return self.whole.shape[1]

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        if role == Qt.ItemDataRole.DisplayRole:
            return self._words(self.rows.iat[index.row(), index.column()], str(self.whole.columns[index.column()]))
        if role == Qt.ItemDataRole.TextAlignmentRole and index.column() > 1:
            return int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        return None

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        if orientation != Qt.Orientation.Horizontal:
            return None
        column = str(self.whole.columns[section])
        if role == Qt.ItemDataRole.DisplayRole:
            return self._titles.get(column, column)
        return self._tips(column) if role == Qt.ItemDataRole.ToolTipRole else None

    def sort(self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        if column < 0:  # as a header stands before the first click: the order of the table itself
            return
        self._order = (str(self.whole.columns[column]), order == Qt.SortOrder.AscendingOrder)
        self.show(self.rows)

    def show(self, rows: pd.DataFrame) -> None:
        """Show these ``rows`` of the table, in the order that was chosen."""
        self.beginResetModel()
        self.rows = rows if self._order is None else rows.sort_values(self._order[0], ascending=self._order[1], kind="stable")
        self.endResetModel()
