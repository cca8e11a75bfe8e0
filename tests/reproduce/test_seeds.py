import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "reproduce" / "seeds.py"


@pytest.mark.slow
def test_every_row_of_the_three_documents_agrees(tmp_path):
    figure = tmp_path / "convergence.png"
    command = [sys.executable, "-W", "error", str(SCRIPT), "--figure", str(figure)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line.rsplit("|", 1)[-1].strip() for line in done.stdout.splitlines() if line.count("|") == 3]
    assert rows.count("agrees") == 3
    assert rows.count("yes") == len(rows) - 3 >= 34
    assert figure.read_bytes().startswith(b"\x89PNG")
