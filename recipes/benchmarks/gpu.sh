#!/usr/bin/env bash
# Measures on a bare machine with a GPU and torch, from the checkout: gpu.sh [OUT [WHEELS [OPTIONS of gpu.py]]].
# WHEELS is a folder of wheels where there is no network; `-` takes what is installed or the package index.
set -euo pipefail
cd "$(dirname "$0")/../.."
out=${1:-runs/gpu} wheels=${2:--}
python=${PYTHON:-python3}
mkdir -p "$out"
offline=()
if [ "$wheels" != - ]; then offline=(--no-index --find-links "$wheels"); fi
if ! "$python" -c "import hdiff, accelerate, pyarrow" 2>"$out/import.log"; then
  "$python" -m pip install -q "${offline[@]}" -e .
fi
exec "$python" recipes/benchmarks/gpu.py --out "$out" "${@:3}" 2>&1 | tee "$out/gpu.log"
