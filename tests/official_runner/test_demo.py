"""`bridge demo --runner-dir`: a workflow from push to result, whose jobs check the runner from within."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.support import ROOT
from tests.support.runners import commit_all

WORKFLOW = """
on: push
env: {AT_TOP: top}
jobs:
  first:
    runs-on: [self-hosted, runpod, gpu]
    outputs: {answer: "${{ steps.think.outputs.answer }}"}
    steps:
      - uses: actions/checkout@v5
      - {id: think, run: echo answer=42 >> "$GITHUB_OUTPUT"}
      - run: test "${{ steps.think.outputs.answer }}" = 42 && test "$AT_TOP" = top
      - {id: bad, run: exit 3, continue-on-error: true}
      - run: test "${{ steps.bad.outcome }} ${{ steps.bad.conclusion }}" = "failure success"
      - {if: failure(), run: exit 4}
  second:
    needs: first
    runs-on: [self-hosted, runpod, gpu]
    strategy: {matrix: {number: [1, 2]}}
    steps:
      - run: test "${{ needs.first.outputs.answer }}" = 42 && test "${{ matrix.number }}" -le 2
  hashes:
    runs-on: [self-hosted, runpod, gpu]
    steps:
      - uses: actions/checkout@v5
      - run: test -n "${{ hashFiles('**/*.lock') }}"
  actions:
    runs-on: [self-hosted, runpod, gpu]
    steps:
      - uses: actions/checkout@v5
      - {id: composite, uses: ./composite, with: {who: you}}
      - run: test "${{ steps.composite.outputs.said }}" = "hello you"
      - {id: script, uses: ./script, with: {who: me}}
      - run: test "${{ steps.script.outputs.said }}" = "hello me"
  fails:
    runs-on: [self-hosted, runpod, gpu]
    steps:
      - run: exit 1
"""
COMPOSITE = """
name: composite
description: says hello
inputs: {who: {required: true, description: who}}
outputs: {said: {description: it, value: "${{ steps.say.outputs.said }}"}}
runs:
  using: composite
  steps:
    - {id: say, shell: bash, run: 'echo "said=hello ${{ inputs.who }}" >> "$GITHUB_OUTPUT"'}
"""
SCRIPT = """
name: script
description: says hello
inputs: {who: {required: true, description: who}}
outputs: {said: {description: it}}
runs: {using: node20, main: index.js}
"""
JAVASCRIPT = "require('fs').appendFileSync(process.env.GITHUB_OUTPUT, `said=hello ${process.env.INPUT_WHO}\\n`)"
FILES = {
    ".github/workflows/ci.yml": WORKFLOW,
    "composite/action.yml": COMPOSITE,
    "script/action.yml": SCRIPT,
    "script/index.js": JAVASCRIPT,
    "some.lock": "x",
}


def test_outputs_needs_matrix_hashes_and_local_actions(runner_dir: Path, tmp_path: Path) -> None:
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    commit_all(tmp_path)
    command = [sys.executable, "-m", "bridge", "demo", "--json", "--repo", str(tmp_path), "--runner-dir"]
    variables = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    done = subprocess.run(
        [*command, str(runner_dir)], cwd=ROOT, env=variables, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["unsupported"] == []
    assert {job["name"]: job["conclusion"] for job in document["jobs"]} == {
        "first": "success",
        "second (1)": "success",
        "second (2)": "success",
        "hashes": "success",
        "actions": "success",
        "fails": "failure",
    }
