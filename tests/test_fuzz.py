import subprocess
import sys
from pathlib import Path


def test_no_sample_of_a_damaged_tar_is_lost_without_a_word():
    script = Path(__file__).parents[1] / "benchmarks/fuzz.py"
    command = [sys.executable, str(script), "--tars", "36", "--seed", "7"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "in no row and no message: 0; refreshes that died: 0" in done.stdout
