"""The handler where RunPod's Hub looks for it. The image runs runner_image/handler.py, and so does this file.

https://docs.runpod.io/hub/publishing-guide
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from runner_image.handler import main

if __name__ == "__main__":
    main()
