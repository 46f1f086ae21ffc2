"""Targets with something wrong in them."""

import os

KEPT: list[bytes] = []


def sound(data: bytes) -> None:
    """Has branches enough to be found, and nothing wrong."""
    if data[:1] == b"a":
        KEPT[:] = [data] if data[1:2] == b"b" else []


def crash(data: bytes) -> None:
    if data:
        raise KeyError("found you")


def hang(data: bytes) -> None:
    while data:
        pass


def leak(data: bytes) -> None:
    KEPT.append(bytes(len(data) + 1_000_000))


def die(data: bytes) -> None:
    if data:
        os.kill(os.getpid(), 9)
