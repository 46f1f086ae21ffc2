"""The identity of a cluster; what TLS makes of it is in tests/fleet/test_tls.py."""

from cryptography import x509

from voicegate.access import ClusterIdentity

NEW, OLD, OTHER = (bytes([n]) * 32 for n in range(3))


def test_machines_with_the_same_secrets_make_the_same_bytes() -> None:
    assert ClusterIdentity.of([NEW, OLD]) == ClusterIdentity.of([NEW, OLD])
    assert ClusterIdentity.of([NEW]).trusted != ClusterIdentity.of([OLD]).trusted


def test_the_key_is_not_shown() -> None:
    identity = ClusterIdentity.of([NEW])
    assert identity.key not in repr(identity)
    assert "PRIVATE" not in identity.chain + identity.trusted


def test_no_clock_is_too_early_or_too_late() -> None:
    identity = ClusterIdentity.of([NEW, OLD])
    for certificate in x509.load_pem_x509_certificates((identity.chain + identity.trusted).encode()):
        assert certificate.not_valid_before_utc.year == 1970
        assert certificate.not_valid_after_utc.year == 9999


def test_no_two_certificates_have_issuer_and_number_in_common() -> None:
    made = [ClusterIdentity.of(secrets) for secrets in ([NEW, OLD], [OLD, NEW])]
    certificates = {
        each for one in made for each in x509.load_pem_x509_certificates((one.chain + one.trusted).encode())
    }
    assert len({(each.issuer.rfc4514_string(), each.serial_number) for each in certificates}) == len(
        certificates
    )


def test_what_is_shown_can_sign_for_nobody() -> None:
    member, *_ = x509.load_pem_x509_certificates(ClusterIdentity.of([NEW]).chain.encode())
    assert not member.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert not member.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
