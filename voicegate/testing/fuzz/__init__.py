"""Fuzzing: `voicegate fuzz`, which feeds the targets of `voicegate.testing.targets` until one of them breaks.

Each target runs in a process of its own (`worker`), since it may hang, crash or eat the memory; another
process (`run`) watches it, and knows from a shared file (`recorder`) the input it was on.

Layer: shell (Trio).
"""
