"""The keys of all epochs at hand, in both directions."""

from voicegate.dtls.v13.cipher import CipherSuite, ReadEpoch, WriteEpoch
from voicegate.dtls.v13.handshake import HANDSHAKE_EPOCH

__all__ = ["Epochs"]


class Epochs:
    """Epoch 2, then 3, then in each direction one more for every KeyUpdate.

    Old read keys stay for what was overtaken on its way: of two epochs at once, so that the two bits that a
    record shows of its epoch are enough to tell which it is.
    """

    def __init__(self) -> None:
        self._reads: dict[int, ReadEpoch] = {}
        self._writes: dict[int, WriteEpoch] = {}
        self.newest_read = 0
        self.newest_write = 0

    def add(self, epoch: int, suite: CipherSuite, *, read: bytes, write: bytes) -> None:
        """Take the secrets of an epoch from the handshake."""
        self._reads[epoch] = ReadEpoch.make(suite, read, epoch)
        self._writes[epoch] = WriteEpoch.make(suite, write, epoch)
        self.newest_read = self.newest_write = epoch

    def reading(self, bits: int) -> ReadEpoch | None:
        """Return the keys for a record that shows these bits, if they are at hand."""
        return self._reads.get(self.newest_read - (self.newest_read - bits & 3))

    def writing(self, epoch: int | None = None) -> WriteEpoch:
        """Return the keys to write an epoch with; those of the newest if none is given."""
        return self._writes[self.newest_write if epoch is None else epoch]

    def advance_read(self) -> None:
        """Make new keys to read with: the peer has updated its own."""
        self._reads.pop(HANDSHAKE_EPOCH, None)
        self._reads.pop(self.newest_read - 1, None)
        newer = self._reads[self.newest_read].next()
        self._reads[newer.epoch] = newer
        self.newest_read = newer.epoch

    def advance_write(self) -> None:
        """Make new keys to write with; the old ones are of no more use."""
        newer = self.writing().next()
        self._writes = {newer.epoch: newer}
        self.newest_write = newer.epoch
