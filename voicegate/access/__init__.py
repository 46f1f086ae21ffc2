"""Who may use the server: keys, what they allow, client secrets that carry a part of it, and limits.

Layer: core (sans-IO).
"""

from voicegate.access.admission import Admission, CapExceeded, share
from voicegate.access.cluster_identity import ClusterIdentity
from voicegate.access.gate import Denial, Gate
from voicegate.access.grant import Grant
from voicegate.access.key import ApiKey, hash_key, new_key
from voicegate.access.secret import ClientSecret, ClientSecrets, SecretTooLargeError

__all__ = [
    "Admission",
    "ApiKey",
    "CapExceeded",
    "ClientSecret",
    "ClientSecrets",
    "ClusterIdentity",
    "Denial",
    "Gate",
    "Grant",
    "SecretTooLargeError",
    "hash_key",
    "new_key",
    "share",
]
