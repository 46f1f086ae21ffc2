"""Child processes that are talked to, watched, replaced and ended; what they do is not known here.

Nothing is imported here: the children themselves need only `voicegate.child.channel`, and start quickly.

Layer: shell (Trio).
"""
