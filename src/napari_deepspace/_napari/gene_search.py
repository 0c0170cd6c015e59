"""The search field for genes: instant over tens of thousands of names, by what a pathologist calls them too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from qtpy.QtCore import QAbstractListModel, QEvent, QModelIndex, Qt, Signal
from qtpy.QtWidgets import QAbstractItemView, QLineEdit, QListView, QVBoxLayout, QWidget

from napari_deepspace.gene_names import GeneNames
from napari_deepspace.glossary import term


class _Names(QAbstractListModel):
    """Names with the reason they are offered for and a remark behind them; filtering takes milliseconds for 33,000."""

    def __init__(self) -> None:
        super().__init__()
        self.all = GeneNames(())
        self.remark: Callable[[str], str] = lambda name: ""
        self.within: list[str] | None = None  #: the only names that are offered, in this order; None: all
        self.rows: list[str] = []
        self.reasons: dict[str, str] = {}

    def rowCount(self, parent: QModelIndex | None = None) -> int:
        return len(self.rows)

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> str | None:
        if role not in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.ToolTipRole) or not index.isValid():
            return None
        name = self.rows[index.row()]
        return "    ".join(words for words in (self.reasons.get(name) or name, self.remark(name)) if words)

    def offered(self) -> list[str]:
        """All names that are offered, whatever is typed."""
        return list(self.all.names) if self.within is None else self.within

    def filter(self, text: str) -> None:
        hits = self.all.find(text) if text.strip() else []
        self.beginResetModel()
        offered = self.offered()
        some = None if self.within is None else set(self.within)
        self.rows = [match.name for match in hits if some is None or match.name in some] if text.strip() else offered
        self.reasons = {match.name: match.reason for match in hits if match.reason}
        self.endResetModel()


class GeneSearch(QWidget):
    """A search field over tens of thousands of genes, by their names or a pathologist's; Enter or a click picks one.

    ``quiet`` hides the list until something is typed.
    """

    picked = Signal(str)
    unknown = Signal(str)

    def __init__(self, placeholder: str, *, quiet: bool = False, height: int = 110):
        super().__init__()
        self._quiet = quiet
        self.model = _Names()
        self.field = QLineEdit()
        self.field.setPlaceholderText(placeholder)
        self.field.setClearButtonEnabled(True)
        self.field.setToolTip(f"{term('gene')} Names of antibodies (HER2, Ki-67, PD-L1), older symbols and Ensembl ids are understood too.")
        self.list = QListView()
        self.list.setModel(self.model)
        self.list.setUniformItemSizes(True)
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.list.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.list.setFixedHeight(height)
        self.list.setVisible(not quiet)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(3)
        layout.addWidget(self.field)
        layout.addWidget(self.list)
        self.field.textChanged.connect(self._search)
        self.field.returnPressed.connect(self._enter)
        self.list.clicked.connect(lambda index: self._pick(self.model.rows[index.row()]))
        self.list.activated.connect(lambda index: self._pick(self.model.rows[index.row()]))
        self.field.installEventFilter(self)

    def set_names(self, names: Sequence[str], gene_ids: Sequence[str] = ()) -> None:
        """Offer ``names`` in this order; ``gene_ids`` are their Ensembl ids."""
        self.model.all = GeneNames(names, gene_ids)
        self.model.filter(self.field.text())

    def set_within(self, names: list[str] | None) -> None:
        """Offer only ``names``, in this order; None: all of them."""
        self.model.within = names
        self.model.filter(self.field.text())

    def neighbour(self, name: str, step: int) -> str | None:
        """The name that many places after ``name`` in the list as it is shown, from its end on to its beginning; None where there is none.

        Where only ``name`` itself was found by what is typed, the list goes on as it is without that.
        """
        rows = self.model.rows if self.model.rows != [name] else self.model.offered()
        if not rows:
            return None
        return rows[(rows.index(name) + step) % len(rows)] if name in rows else rows[0 if step > 0 else -1]

    def set_remark(self, remark: Callable[[str], str]) -> None:
        """What stands behind a name, asked only for the rows in view."""
        self.model.remark = remark
        viewport = self.list.viewport()
        if viewport is not None:
            viewport.update()

    def show_current(self, name: str) -> None:
        """Mark ``name`` in the list, without picking it."""
        if name in self.model.rows:
            index = self.model.index(self.model.rows.index(name))
            self.list.setCurrentIndex(index)
            self.list.scrollTo(index)
        else:
            self.list.clearSelection()
            self.list.setCurrentIndex(self.model.index(-1))

    def _search(self, text: str) -> None:
        self.model.filter(text)
        self.list.setVisible(not self._quiet or bool(text.strip()))

    def _enter(self) -> None:
        text = self.field.text().strip()
        if not text:
            return
        if self.model.rows:
            current = self.list.currentIndex()
            self._pick(self.model.rows[current.row() if current.isValid() else 0])
        else:
            self.unknown.emit(text)

    def _pick(self, name: str) -> None:
        if self._quiet:
            self.field.clear()
        self.picked.emit(name)

    def eventFilter(self, watched: Any, event: Any) -> bool:
        """The down key moves from the field into the list."""
        if watched is self.field and event.type() == QEvent.Type.KeyPress and event.key() == Qt.Key.Key_Down and self.model.rows:
            self.list.setVisible(True)
            self.list.setFocus()
            self.list.setCurrentIndex(self.model.index(0))
            return True
        return super().eventFilter(watched, event)
