"""Measures voicegate beside references: set-up in real browsers, the relay and many calls under load, speech.

Layer: shell (Trio).
"""
