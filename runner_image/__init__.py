"""The worker: runs one GitHub Actions job for one request of a RunPod endpoint."""
