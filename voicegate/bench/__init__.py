"""Measures voicegate beside references: call set-up in real browsers, and the relay under load.

Layer: shell (Trio).
"""
