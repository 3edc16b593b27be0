"""The address that RunPod posts to when a request has ended. Pure.

RunPod signs nothing, so the path itself proves that it was we who gave it.
"""

import hashlib
import hmac


def path(submission: str, key: str) -> str:
    """The path for a submission's request.

    Args:
        submission: the ledger's id.
        key: secret; the same for all dispatchers of a ledger.
    """
    return f"/runpod/{submission}/{_signature(submission, key)}"


def is_ours(submission: str, signature: str, key: str) -> bool:
    """Whether `signature` was made with `key`, compared in constant time."""
    return hmac.compare_digest(_signature(submission, key).encode(), signature.encode(errors="replace"))


def _signature(submission: str, key: str) -> str:
    return hmac.digest(key.encode(), submission.encode(), hashlib.sha256).hex()
