import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.dtls.test_signature import signatures
from voicegate.dtls.v12.message import (
    CertificateMessage,
    CertificateRequest,
    ClientKeyExchange,
    ServerKeyExchange,
)
from voicegate.errors import WireError

AnyMessage = CertificateMessage | CertificateRequest | ClientKeyExchange | ServerKeyExchange

u16 = st.integers(0, 0xFFFF)
blobs = st.lists(st.binary(max_size=60), max_size=4).map(tuple)
messages = st.one_of(
    st.builds(CertificateMessage, certificates=blobs),
    st.builds(
        CertificateRequest,
        certificate_types=st.binary(max_size=5),
        signature_schemes=st.lists(u16, max_size=8).map(tuple),
        authorities=blobs,
    ),
    st.builds(ClientKeyExchange, public=st.binary(max_size=255)),
    st.builds(ServerKeyExchange, group=u16, public=st.binary(max_size=255), signed=signatures),
)


@given(messages)
def test_messages_survive_the_wire(message: AnyMessage) -> None:
    assert type(message).decode(message.encode()) == message


@given(messages)
def test_trailing_bytes_are_refused(message: AnyMessage) -> None:
    with pytest.raises(WireError):
        type(message).decode(message.encode() + b"\0")


@pytest.mark.parametrize(
    "kind", [CertificateMessage, CertificateRequest, ClientKeyExchange, ServerKeyExchange]
)
@given(data=st.binary(max_size=80))
def test_any_bytes_decode_to_what_encodes_to_them_or_raise_a_wire_error(
    kind: type[AnyMessage], data: bytes
) -> None:
    try:
        message = kind.decode(data)
    except WireError:
        return
    assert message.encode() == data


def test_explicit_curves_are_refused() -> None:
    with pytest.raises(WireError, match="curve type 1"):
        ServerKeyExchange.decode(bytes.fromhex("01 001d 00 0403 0000"))
