"""The address that RunPod posts to when a request has ended. Pure.

RunPod does not sign its calls, so the path contains a signature of the bridge.
"""

import hashlib
import hmac


def path(submission: str, key: str) -> str:
    """Make the path for a submission's request.

    Args:
        submission: the ledger's id.
        key: secret; the same for all dispatchers of a ledger.
    """
    return f"/runpod/{submission}/{_signature(submission, key)}"


def is_ours(submission: str, signature: str, key: str) -> bool:
    """Whether `signature` was made with `key`. The comparison takes constant time."""
    return hmac.compare_digest(_signature(submission, key).encode(), signature.encode(errors="replace"))


def _signature(submission: str, key: str) -> str:
    return hmac.digest(key.encode(), submission.encode(), hashlib.sha256).hex()
