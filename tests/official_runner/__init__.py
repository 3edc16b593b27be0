"""The worker and the demo with an official runner, instead of the stand-in.

RUNNER_DIR names the folder of an unpacked release of actions/runner. Without it these tests are skipped.
"""
