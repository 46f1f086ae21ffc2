"""``recvmmsg`` and ``sendmmsg``: many datagrams per call, by ctypes on numpy arrays laid out as C has them.

The arrays are made once and handed to the kernel again and again; nothing is allocated per call. Left to
the callers: to keep every array alive and in place that an address was taken of.
"""

import ctypes
import errno
import socket
import struct
import sys
from typing import Final

import numpy as np
import numpy.typing as npt

from voicegate.wire.path import MAPPED_PREFIX, Address, address_bytes, address_text

__all__ = [
    "CONTROL",
    "HAS_BATCHES",
    "IOVEC",
    "MESSAGE",
    "NO_SEGMENTS",
    "SOCKADDR",
    "SOL_UDP",
    "UDP_GRO",
    "UDP_SEGMENT",
    "address_of",
    "decode_address",
    "encode_address",
    "receive_messages",
    "send_messages",
    "supports_gro",
    "supports_gso",
]

SOCKADDR: Final = np.dtype(
    {
        "names": ["family", "port", "v4", "high", "low", "scope"],
        "formats": ["=u2", ">u2", "=u4", "=u8", "=u8", "=u4"],
        "offsets": [0, 2, 4, 8, 16, 24],
        "itemsize": 32,
    }
)
"""``sockaddr_in`` and ``sockaddr_in6`` in one: ``v4`` is the address of the first, ``high`` and ``low`` that
of the second, all as they lie in memory."""

IOVEC: Final = np.dtype([("base", "=u8"), ("length", "=u8")])

MESSAGE: Final = np.dtype(
    {
        "names": ["name", "name_length", "iov", "iov_count", "control", "control_length", "flags", "length"],
        "formats": ["=u8", "=u4", "=u8", "=u8", "=u8", "=u8", "=i4", "=u4"],
        "offsets": [0, 8, 16, 24, 32, 40, 48, 56],
        "itemsize": 64,
    }
)
"""``mmsghdr`` of 64-bit Linux."""

CONTROL: Final = np.dtype(
    {
        "names": ["length", "level", "type", "value"],
        "formats": ["=u8", "=i4", "=i4", "=i4"],
        "offsets": [0, 8, 12, 16],
        "itemsize": 24,
    }
)
"""``cmsghdr`` with an ``int`` behind it: what UDP_SEGMENT (which wants its lower half) and UDP_GRO use."""

SOL_UDP: Final = 17
UDP_SEGMENT: Final = 103
UDP_GRO: Final = 104


NO_SEGMENTS: Final = frozenset({errno.EIO, errno.EINVAL, errno.EMSGSIZE, errno.EOPNOTSUPP})
"""Errors of segments that single datagrams may not meet: a device without checksums, a small MTU."""

_libc: Final = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None

HAS_BATCHES: Final = (
    _libc is not None
    and hasattr(_libc, "recvmmsg")
    and hasattr(_libc, "sendmmsg")
    and struct.calcsize("P") == 8
    and sys.byteorder == "little"
)
"""Whether this system has the calls, and the layout that is written down here."""

if HAS_BATCHES:
    _receive = _libc.recvmmsg  # type: ignore[union-attr]
    _receive.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p)
    _send = _libc.sendmmsg  # type: ignore[union-attr]
    _send.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int)


def receive_messages(fd: int, messages: int, count: int) -> int:
    """Take in up to ``count`` datagrams; ``messages`` is the address of the first `MESSAGE`.

    Returns how many there were, or the errno, negative.
    """
    received: int = _receive(fd, messages, count, socket.MSG_DONTWAIT, None)
    return received if received >= 0 else -ctypes.get_errno()


def send_messages(fd: int, messages: int, count: int) -> int:
    """Send up to ``count`` messages; ``messages`` is the address of the first `MESSAGE`.

    Returns how many the kernel took before one that it refused; if that is the first, its errno, negative.
    """
    sent: int = _send(fd, messages, count, socket.MSG_DONTWAIT)
    return sent if sent >= 0 else -ctypes.get_errno()


def address_of(array: npt.NDArray[np.void] | npt.NDArray[np.uint8]) -> int:
    """Return where an array's first element lies in memory."""
    return array.__array_interface__["data"][0]  # type: ignore[no-any-return]


def encode_address(address: Address) -> npt.NDArray[np.void]:
    """Write a literal address as one `SOCKADDR`."""
    host, port = address
    name = np.zeros(1, SOCKADDR)
    packed = address_bytes(host)
    if ":" in host:
        name["family"] = socket.AF_INET6
        name["high"], name["low"] = np.frombuffer(packed, "=u8")
    else:
        name["family"] = socket.AF_INET
        name["v4"] = np.frombuffer(packed, "=u4")[3]
    name["port"] = port
    return name


def decode_address(name: np.void) -> Address:
    """Read one `SOCKADDR`."""
    raw = name.tobytes()
    is_v6 = name["family"] == socket.AF_INET6
    return address_text(raw[8:24] if is_v6 else MAPPED_PREFIX + raw[4:8]), int(name["port"])


def supports_gso(sock: socket.socket) -> bool:
    """Whether one send may carry many datagrams of one size (UDP_SEGMENT, Linux 4.18)."""
    return HAS_BATCHES and _takes_option(sock, UDP_SEGMENT, 0)


def supports_gro(sock: socket.socket) -> bool:
    """Whether one receive may bring many datagrams of one size (UDP_GRO, Linux 5.0); if so, it does now."""
    return HAS_BATCHES and _takes_option(sock, UDP_GRO, 1)


def _takes_option(sock: socket.socket, option: int, value: int) -> bool:
    try:
        sock.setsockopt(SOL_UDP, option, value)
    except OSError:
        return False
    return True
