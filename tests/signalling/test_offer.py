import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.signalling.conftest import OFFER
from voicegate.signalling.fault import RequestRefused
from voicegate.signalling.offer import MAX_PARTS, Offer, read_data_channel_id, read_offer

FORM = "multipart/form-data; boundary=xyz"


def form(*parts: tuple[str, str]) -> bytes:
    body = "".join(f"--xyz\r\n{headers}\r\n\r\n{content}\r\n" for headers, content in parts)
    return (body + "--xyz--\r\n").encode()


def field(name: str) -> str:
    return f'Content-Disposition: form-data; name="{name}"'


def refusal(content_type: str, body: bytes) -> RequestRefused:
    with pytest.raises(RequestRefused) as caught:
        read_offer(content_type, body)
    return caught.value


@pytest.mark.parametrize("content_type", ["application/sdp", "Application/SDP ; charset=utf-8"])
def test_bare_sdp_is_an_offer(content_type: str) -> None:
    assert read_offer(content_type, OFFER.encode()) == Offer(sdp=OFFER)


def test_a_form_whose_parts_have_no_content_type_is_an_offer() -> None:
    body = form((field("sdp"), OFFER), (field("session"), '{"type": "realtime"}'))
    assert read_offer(FORM, body) == Offer(sdp=OFFER, session={"type": "realtime"})


def test_a_form_with_content_types_file_names_preamble_and_other_fields_is_an_offer() -> None:
    body = b"preamble\r\n" + form(
        (f'content-type: application/sdp\r\n{field("sdp")}; filename="sdp"', OFFER),
        ("Content-Disposition: form-data; name=other", "ignored"),
    )
    assert read_offer('multipart/form-data; boundary="xyz"', body) == Offer(sdp=OFFER)


def test_a_json_object_is_an_offer() -> None:
    body = json.dumps({"sdp": OFFER, "session": {"model": "any"}}).encode()
    assert read_offer("application/json", body) == Offer(sdp=OFFER, session={"model": "any"})
    assert read_offer("application/json", json.dumps({"sdp": OFFER, "session": None}).encode()) == Offer(
        sdp=OFFER
    )


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/x-www-form-urlencoded"])
def test_another_content_type_is_refused_by_name(content_type: str) -> None:
    error = refusal(content_type, OFFER.encode())
    assert (error.status, error.code) == (415, "unsupported_content_type")
    assert content_type in error.message


@pytest.mark.parametrize(
    ("content_type", "body", "code", "param"),
    [
        ("application/sdp", b"", "invalid_offer", "sdp"),
        ("application/sdp", b"hello", "invalid_offer", "sdp"),
        ("application/sdp", b"v=0\r\ns=\xff", "invalid_offer", "sdp"),
        ("application/json", b"{", "invalid_json", None),
        ("application/json", b"\xff", "invalid_json", None),
        ("application/json", b"[]", "invalid_json", None),
        ("application/json", b"[" * 60_000, "invalid_json", None),
        ("application/json", b"9" * 5_000, "invalid_json", None),
        ("application/json", b'{"sdp": 1}', "invalid_offer", "sdp"),
        ("application/json", b'{"sdp": "v=0 \\ud800"}', "invalid_json", None),
        ("application/json", b'{"sdp": "v=0", "session": []}', "invalid_json", "session"),
        ("application/json", b'{"sdp": "v=0", "session": {"speed": NaN}}', "invalid_json", None),
        ("multipart/form-data", form((field("sdp"), OFFER)), "invalid_form", None),
        (FORM, form((field("other"), OFFER)), "invalid_offer", "sdp"),
        (FORM, form((field("sdp"), OFFER), (field("session"), "{")), "invalid_json", "session"),
        (FORM, form((field("sdp"), OFFER), (field("session"), "1")), "invalid_json", "session"),
        (FORM, form((field("sdp"), OFFER), (field("sdp"), OFFER)), "invalid_form", "sdp"),
        (FORM, form(("Content-Type: application/sdp", OFFER)), "invalid_form", None),
        (FORM, form((field("sdp"), OFFER)).removesuffix(b"--xyz--\r\n"), "invalid_form", None),
        (FORM, form(*((field(str(n)), "") for n in range(MAX_PARTS + 1))), "invalid_form", None),
    ],
)
def test_a_broken_body_is_refused_naming_the_fault(
    content_type: str, body: bytes, code: str, param: str | None
) -> None:
    error = refusal(content_type, body)
    assert (error.status, error.code, error.param) == (400, code, param)


CONTENT_TYPES = st.one_of(
    st.sampled_from(["application/sdp", "application/json", FORM, 'multipart/form-data; boundary="\xff"']),
    st.text(alphabet=st.characters(max_codepoint=255), max_size=60),
)
BODIES = st.one_of(
    st.binary(max_size=300),
    st.lists(
        st.sampled_from([b"--xyz", b"--", b"\r\n", b"\r\n\r\n", field("sdp").encode(), b"v=0", b"{"])
    ).map(b"".join),
)


@given(content_type=CONTENT_TYPES, body=BODIES)
@example(content_type=FORM, body=b"--xyz\r\nContent-Disposition: form-data; name=sdp\r\n\r\nv=0\r\n--xyz--")
def test_any_body_is_an_offer_or_refused_with_a_client_error(content_type: str, body: bytes) -> None:
    try:
        outcome: Offer | int = read_offer(content_type, body)
    except RequestRefused as error:
        outcome = error.status
    assert outcome in {400, 415} or (isinstance(outcome, Offer) and outcome.sdp.startswith("v=0"))


@pytest.mark.parametrize(("values", "id_"), [([], None), (["0"], 0), (["0007"], 7), (["1023"], 1023)])
def test_a_number_is_the_id_of_a_data_channel(values: list[str], id_: int | None) -> None:
    assert read_data_channel_id(values) == id_


@given(st.lists(st.integers().map(str) | st.text(max_size=6), max_size=3))
def test_any_query_is_an_id_or_refused_with_a_client_error(values: list[str]) -> None:
    outcome: int | str | None
    try:
        outcome = read_data_channel_id(values)
    except RequestRefused as error:
        outcome = f"{error.status} {error.code} {error.param}"
    assert (outcome is None) == (not values)
    assert outcome in {None, "400 invalid_parameter dcid"} or outcome in range(1024)
