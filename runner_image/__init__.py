"""The worker: one request of a RunPod endpoint, one GitHub Actions job."""
