from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.dtls.test_extension import extensions
from voicegate.dtls.extension import ExtensionType, decode_versions
from voicegate.dtls.hello import ClientHello, HelloVerifyRequest, ServerHello
from voicegate.errors import WireError

VECTORS = Path(__file__).parent.parent / "vectors" / "dtls"

u16 = st.integers(0, 0xFFFF)
client_hellos = st.builds(
    ClientHello,
    version=u16,
    random=st.binary(min_size=32, max_size=32),
    session_id=st.binary(max_size=32),
    cookie=st.binary(max_size=255),
    cipher_suites=st.lists(u16, max_size=20).map(tuple),
    compression_methods=st.binary(max_size=3),
    extensions=extensions,
)
server_hellos = st.builds(
    ServerHello,
    version=u16,
    random=st.binary(min_size=32, max_size=32),
    session_id=st.binary(max_size=32),
    cipher_suite=u16,
    compression_method=st.integers(0, 255),
    extensions=extensions,
)
requests = st.builds(HelloVerifyRequest, version=u16, cookie=st.binary(max_size=255))


@given(client_hellos | server_hellos | requests)
def test_hellos_survive_the_wire(hello: ClientHello | ServerHello | HelloVerifyRequest) -> None:
    assert type(hello).decode(hello.encode()) == hello


@pytest.mark.parametrize("kind", [ClientHello, ServerHello, HelloVerifyRequest])
@given(data=st.binary(max_size=120))
def test_any_bytes_decode_or_raise_a_wire_error(
    kind: type[ClientHello | ServerHello | HelloVerifyRequest], data: bytes
) -> None:
    try:
        kind.decode(data)
    except WireError:
        return
    assert len(data) >= 3


@given(client_hellos | server_hellos | requests, st.data())
def test_a_cut_or_padded_hello_is_refused_unless_it_lost_all_its_extensions(
    hello: ClientHello | ServerHello | HelloVerifyRequest, data: st.DataObject
) -> None:
    encoded = hello.encode()
    with pytest.raises(WireError):
        type(hello).decode(encoded + b"\1\0\0")
    cut = encoded[: data.draw(st.integers(0, len(encoded) - 1))]
    try:
        shorter = type(hello).decode(cut)
    except WireError:
        return
    assert not isinstance(shorter, HelloVerifyRequest)
    assert shorter.extensions == ()


def test_a_long_session_id_is_refused() -> None:
    hello = ServerHello(version=0xFEFD, random=bytes(32), session_id=bytes(33), cipher_suite=0)
    with pytest.raises(WireError, match="session id"):
        ServerHello.decode(hello.encode())


@pytest.mark.parametrize("path", sorted(VECTORS.glob("*-message.bin")), ids=lambda path: path.name[:40])
def test_the_hello_of_a_browser_is_read_and_written_back_byte_for_byte(path: Path) -> None:
    data = path.read_bytes()
    hello = ClientHello.decode(data)
    assert hello.encode() == data
    assert hello.version == 0xFEFD
    versions = hello.extension(ExtensionType.SUPPORTED_VERSIONS)
    assert versions is None or 0xFEFD in decode_versions(versions)
    assert (versions is None) == ("dtls12max" in path.name)
