"""Folds what cannot be delivered, per device (fleet-protocol 4.10, contract R8).

Pure: the result depends on the entries and on the module alone, so it can be computed again from
the outbox at any time. Memory per device is constant: one fold, however long the outage. A second
one exists only when the handler folded entries of its own after ours were sent: two aggregates
cannot be merged by the module interface, so they are delivered in two sessions (R14).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final, Protocol

from module_gateway.external_client.entries import Entry, Fold
from module_gateway.protocol.errors import ModuleError
from module_gateway.protocol.identity import Identity

MAX_FOLDS: Final = 4
"""Per device. More can only come from a handler that breaks the rules; the newest is coarsened."""


class ErrorModule(Protocol):
    """What this process asks a module. Raises ModuleError and nothing else."""

    def aggregate_error(self, error: bytes, status: bytes, device_type: int) -> bytes: ...

    def is_device_type_supported(self, device_type: int) -> bool: ...


class ErrorAggregator:
    """The folds of all devices of one endpoint."""

    def __init__(self, modules: Mapping[int, ErrorModule]) -> None:
        self._modules = modules
        self._folds: dict[Identity, deque[Fold]] = {}
        self._frozen: set[Identity] = set()

    def __iter__(self) -> Iterator[Identity]:
        """Every device with a fold."""
        return iter(self._folds)

    def __len__(self) -> int:
        return len(self._folds)

    def __contains__(self, identity: object) -> bool:
        return identity in self._folds

    # What fleet-protocol 4.10 asks for

    def add_status(self, entry: Entry) -> bool:
        """Remember the entry's status as the last one and fold it into the error.

        Returns:
            False when the module refused: the last status is updated, the error is kept.
        """
        if entry.error is not None:
            self._add_fold(entry, entry.error)
            return True
        fold = self._open_fold(entry)
        if entry.is_repeat:
            self._put(self._moved(fold, entry))
            return True
        error, is_ok = self._aggregate(fold.error, entry)
        self._put(replace(self._moved(fold, entry), error=error, has_news=True))
        return is_ok

    def get_last_status(self, identity: Identity) -> bytes | None:
        """Status of the newest folded entry; None when there is no fold. Does not clear."""
        folds = self._folds.get(identity)
        return folds[-1].status if folds else None

    def get_error(self, identity: Identity) -> bytes | None:
        """Error aggregate of the oldest fold, the next to be delivered; None when it has none."""
        folds = self._folds.get(identity)
        return folds[0].error if folds else None

    def clear(self, identity: Identity) -> Fold | None:
        """Forget the oldest fold: it was delivered. What came after it stays (G-19)."""
        self._frozen.discard(identity)
        folds = self._folds.get(identity)
        if not folds:
            return None
        delivered = folds.popleft()
        if not folds:
            del self._folds[identity]
        return delivered

    # What else a connect sequence needs

    def pass_status(self, entry: Entry) -> None:
        """Cover an entry that was acknowledged already behind one that was not."""
        self._put(self._moved(self._open_fold(entry), entry))

    def oldest(self, identity: Identity) -> Fold | None:
        """The fold that is delivered next."""
        folds = self._folds.get(identity)
        return folds[0] if folds else None

    def freeze(self, identity: Identity) -> Fold | None:
        """The oldest fold, from now on unchanged until `clear` or `thaw` (R10)."""
        fold = self.oldest(identity)
        if fold is not None:
            self._frozen.add(identity)
        return fold

    def thaw(self, identity: Identity) -> None:
        """Its delivery failed: later entries extend it again, and nothing is fed back (G-14)."""
        self._frozen.discard(identity)

    def frozen(self, identity: Identity) -> Fold | None:
        """The fold that is under way, if any."""
        return self.oldest(identity) if identity in self._frozen else None

    def accepts(self, identity: Identity) -> bool:
        """Whether a fold is open: then order demands that later entries join it."""
        folds = self._folds.get(identity)
        return folds is not None and len(folds) > (identity in self._frozen)

    def forget(self, identity: Identity) -> None:
        """Drop every fold of a device: the outbox delivers its entries again."""
        self._frozen.discard(identity)
        self._folds.pop(identity, None)

    def forget_all(self) -> None:
        """Drop every fold of every device."""
        self._frozen.clear()
        self._folds.clear()

    # How

    def _add_fold(self, entry: Entry, error: bytes) -> None:
        """The handler folded `first_sequence` … `sequence`: start with it, or replace by it."""
        folds = self._folds.setdefault(entry.identity, deque())
        made = Fold(
            entry.device,
            entry.store_id,
            entry.first_sequence or entry.sequence,
            entry.sequence,
            entry.status,
            error or None,
            entry.sequence if entry.indivisible is None else entry.indivisible,
            entry.ends_registration,
            True,
            entry.time_unix_ms,
        )
        while len(folds) > (entry.identity in self._frozen) and _covers(entry, folds[-1]):
            folds.pop()
        if len(folds) < MAX_FOLDS:
            folds.append(made)
        else:
            error_so_far, _ = self._aggregate(folds[-1].error, entry)
            folds[-1] = replace(self._moved(folds[-1], entry), error=error_so_far, has_news=True)

    def _open_fold(self, entry: Entry) -> Fold:
        identity = entry.identity
        if self.accepts(identity):
            return self._folds[identity][-1]
        fold = Fold(entry.device, entry.store_id, entry.sequence, entry.sequence, entry.status)
        self._folds.setdefault(identity, deque()).append(fold)
        return fold

    def _put(self, fold: Fold) -> None:
        self._folds[fold.device.identity][-1] = fold

    def _moved(self, fold: Fold, entry: Entry) -> Fold:
        is_same_store = fold.store_id == entry.store_id
        return replace(
            fold,
            device=entry.device,
            store_id=entry.store_id,
            first=fold.first if is_same_store else entry.sequence,
            last=entry.sequence,
            indivisible=fold.indivisible if is_same_store else entry.sequence,
            status=entry.status,
            ends_registration=entry.ends_registration,
            time_unix_ms=entry.time_unix_ms,
        )

    def _aggregate(self, error: bytes | None, entry: Entry) -> tuple[bytes | None, bool]:
        module = self._modules.get(entry.identity.module)
        if module is None:
            return error, False
        try:
            folded = module.aggregate_error(error or b"", entry.status, entry.identity.device_type)
        except ModuleError:
            return error, False
        return folded or None, True


def _covers(entry: Entry, fold: Fold) -> bool:
    return (
        entry.first_sequence != 0
        and entry.store_id == fold.store_id
        and entry.first_sequence <= fold.first
    )
