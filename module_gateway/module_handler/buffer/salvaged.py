"""Entries out of files that were set aside, or of any store that SQLite does not read any more."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from module_gateway.module_handler.buffer.view import STORE_FILE, StoreView, open_view
from module_gateway.module_handler.store_check import salvage_of
from module_gateway.module_handler.store_files import companions
from module_gateway.module_handler.store_repair import rebuild
from module_gateway.protocol.errors import StoreError


@contextmanager
def open_salvaged(path: Path) -> Iterator[StoreView]:
    """Everything intact in the files at `path`, as a store of its own that is gone afterwards.

    Args:
        path: of the database, or of a folder with it. Nothing is changed there.

    Raises:
        StoreError: there are no such files.
        OSError: they cannot be read, or there is no room for the store.
    """
    store = path / STORE_FILE if path.is_dir() else path
    if not any(each.exists() for each in companions(store)[:2]):
        raise StoreError(f"there is no store at {store}")
    with TemporaryDirectory(prefix="module-gateway-") as folder:
        draft = Path(folder) / STORE_FILE
        with salvage_of(store) as salvage:
            rebuild(draft, salvage.records())
        with open_view(draft) as view:
            yield view
