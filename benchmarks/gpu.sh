#!/usr/bin/env bash
# Everything that is worth knowing of a GPU, in nine minutes:
#
#     bash benchmarks/gpu.sh [--out gpu-results] [--data folder:PATH] [--minutes 9] [--device cuda] [--quick]
#
# It runs the tests that need a GPU, table 1 of the paper, what capture and Grad-CAM cost, the speed of training, what
# folding gains, and then trains ResNet83 with SE, with capture, for as many epochs as the rest of the time bears. The
# folder gets gpu.json, written anew after each stage, the pictures, and log.txt. `--device cpu --quick` tries all of it
# out on a CPU in three minutes. PYTHON=… chooses the interpreter, which must have torch.
#
# Packages that are missing are installed where that is possible; where it is not, this says which, and goes on.
set -uo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=${PYTHON:-python3}

missing() {
  "$python" - "$root/pyproject.toml" <<'PYTHON'
import sys, tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from packaging.requirements import Requirement

wanted = tomllib.loads(Path(sys.argv[1]).read_text())["project"]["dependencies"] + ["pytest", "hypothesis"]
for text in wanted:
    requirement = Requirement(text)
    try:
        if not requirement.specifier.contains(version(requirement.name), prereleases=True):
            print(f"{requirement} (is {version(requirement.name)})")
    except PackageNotFoundError:
        print(requirement)
PYTHON
}

lacking=$(missing) || lacking="packaging"
if [ -n "$lacking" ]; then
  echo "missing: ${lacking//$'\n'/, }; installing"
  if ! timeout 60 "$python" -m pip install --quiet --retries 0 --timeout 5 "$root" pytest hypothesis 2>&1 | tail -n 1
  then
    echo "that cannot be installed here; what needs it will fail"
  fi
  lacking=$(missing) || lacking="packaging"
fi
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1 MPLBACKEND=Agg
exec "$python" "$root/benchmarks/gpu.py" --missing "${lacking//$'\n'/, }" "$@"
