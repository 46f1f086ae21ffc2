"""Measures voicegate in real browsers, over a line of chosen delay and loss, beside a reference.

Layer: shell (Trio).
"""
