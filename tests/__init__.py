"""The tests. Nothing here can reach another machine, and a test that hangs fails after five minutes.

| folder | tests |
|---|---|
| unit | each package of `bridge`, in a folder of the same name |
| worker | `runner_image`, in processes of its own where needed |
| emulator | the emulated GitHub and RunPod, and the runner stand-in |
| contract | the clients of GitHub and RunPod against the emulators |
| e2e | the commands and the service as a user runs them, against the emulators |
| faults | killed dispatchers, and GitHub, RunPod, workers and webhooks that fail |
| simulation | the real bridge against an independent model of GitHub and RunPod, in virtual time |
| automation | the scripts and the action in `.github` |
| image | the worker image, built and run: `make image-check` |
| bench | measurements, not tests: `make bench`, explained in docs/performance.md |
| support | helpers that several folders share |

`mutants.py` (`make mutants`) changes `bridge/core` and expects a failing test; `size.py` limits the length of functions
and files. `make test` tries a part of the faults and random histories; `make faults` tries all of them.
"""
