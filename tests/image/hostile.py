"""A step of a hostile job: tries to find secrets, and prints what it found as one line of JSON.

Usage: hostile.py PORT..., the loopback ports of the services that the worker uses.
"""

import ctypes
import json
import os
import socket
import sys
from pathlib import Path

MARK = b"PLANTED"
LARGEST = 4_000_000
PTRACE_ATTACH, PTRACE_DETACH = 16, 17


def readable(path):
    """The content of a file; None if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError:
        return None


def process(folder):
    """What can be read of one process."""
    found = {name: readable(folder / name) for name in ("environ", "cmdline", "maps", "stack", "auxv")}
    try:
        found["fds"] = " ".join(str(each.readlink()) for each in (folder / "fd").iterdir()).encode()
    except OSError:
        found["fds"] = None
    try:
        os.close(os.open(folder / "mem", os.O_RDONLY))
        found["mem"] = b"opened"
    except OSError:
        found["mem"] = None
    try:
        uid = folder.stat().st_uid
    except OSError:
        return None
    status = readable(folder / "status") or b""
    real = next((int(line.split()[1]) for line in status.splitlines() if line.startswith(b"Uid:")), uid)
    readable_values = {name: value.decode(errors="replace") for name, value in found.items() if value}
    return {"uid": real, "traced": real != os.getuid() and traced(int(folder.name)), **readable_values}


def traced(pid):
    """Whether a process can be debugged."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.ptrace(PTRACE_ATTACH, pid, None, None):
        return False
    os.waitpid(pid, 0)
    libc.ptrace(PTRACE_DETACH, pid, None, None)
    return True


def marked():
    """Files that contain a planted secret, and the number of files that cannot be read."""
    hits, closed = {}, 0
    for directory, folders, files in os.walk("/"):
        if directory == "/":
            folders[:] = [name for name in folders if name not in ("proc", "sys", "dev")]
        for path in (Path(directory, name) for name in files):
            if path.is_symlink() or not path.is_file() or path.stat().st_size > LARGEST:
                continue
            content = readable(path)
            closed += content is None
            if content and MARK in content:
                hits[str(path)] = content.decode(errors="replace")
    return hits, closed


def asked(port):
    """The answer of a service to calls without a key."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        paths = ("/", "/worker/ep-1/job-take/x?a=b", "/v2/ep-1/health")
        connection.sendall("".join(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n" for path in paths).encode())
        connection.settimeout(2)
        answer = b""
        try:
            while chunk := connection.recv(65536):
                answer += chunk
        except TimeoutError:
            pass
        return answer.decode(errors="replace")


folders = [folder for folder in Path("/proc").iterdir() if folder.name.isdigit()]
hits, closed = marked()
print(
    json.dumps(
        {
            "environment": dict(os.environ),
            "processes": {folder.name: found for folder in folders if (found := process(folder))},
            "files": hits,
            "closed": closed,
            "answers": [asked(int(port)) for port in sys.argv[1:]],
        }
    )
)
