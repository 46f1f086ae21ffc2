"""Tools for testing voicegate and what is built on it: real browsers, networks of their own, sounds.

Layer: shell (Trio).
"""
