from voicegate.dtls.statistic import DropReason
from voicegate.dtls.v13.cipher import CipherSuite, Plaintext
from voicegate.dtls.v13.epoch import Epochs
from voicegate.dtls.v13.record import ProtectedRecord
from voicegate.wire import Reader

SUITE = CipherSuite.AES_128_GCM_SHA256
UP, DOWN = bytes(32), bytes([1]) * 32


def pair() -> tuple[Epochs, Epochs]:
    client, server = Epochs(), Epochs()
    for epoch in (2, 3):
        client.add(epoch, SUITE, read=DOWN, write=UP)
        server.add(epoch, SUITE, read=UP, write=DOWN)
    return client, server


def opened(epochs: Epochs, data: bytes) -> Plaintext | DropReason | None:
    record = ProtectedRecord.read(Reader(data))
    reading = epochs.reading(record.epoch_bits)
    return None if reading is None else reading.unprotect(record)


def test_at_first_there_are_no_keys() -> None:
    epochs = Epochs()
    assert (epochs.newest_read, epochs.newest_write) == (0, 0)
    assert [epochs.reading(bits) for bits in range(4)] == [None] * 4


def test_each_epoch_is_known_by_its_bits() -> None:
    client, server = pair()
    for epoch in (2, 3):
        assert opened(server, client.writing(epoch).protect(23, b"x")) == Plaintext(0, 23, b"x")
    assert server.reading(0) is None
    assert server.reading(1) is None
    assert client.writing() is client.writing(3)


def test_new_keys_join_the_last_and_those_before_go() -> None:
    client, server = pair()
    before = client.writing(2).protect(22, b"handshake")
    previous = client.writing().protect(23, b"0")
    for number in range(1, 9):
        client.advance_write()
        server.advance_read()
        assert client.newest_write == server.newest_read == 3 + number
        newest = client.writing().protect(23, b"%d" % number)
        overtaken, previous = previous, client.writing().protect(23, b"%d" % number)
        assert opened(server, newest) == Plaintext(0, 23, b"%d" % number)
        assert opened(server, overtaken) == Plaintext(0 if number == 1 else 1, 23, b"%d" % (number - 1))
        # The other direction is as it was.
        assert (client.newest_read, server.newest_write) == (3, 3)
        known = [bits for bits in range(4) if server.reading(bits) is not None]
        assert len(known) == 2
    assert opened(server, before) in {None, DropReason.BAD_MAC}
