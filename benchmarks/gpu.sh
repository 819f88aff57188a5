#!/usr/bin/env bash
# Everything that needs a GPU to be seen, in one command without a network:
#
#     benchmarks/gpu.sh [folder of photographs]
#
# Tests on CUDA, ViT-L/14 as a share of the device's bfloat16 rate, and agreement with the CPU.
# Without a CUDA device the CPU parts run and the others are reported as not run. The environment
# of `make install` must be there; PYTHON names another interpreter, OUT a folder for the figures.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
out=${OUT:-data/gpu}
photos=(${1:+--photos "$1"})
mkdir -p "$out"

step() {
    printf '\n== %s\n' "$1"
    shift
    "$@" 2>&1 | tee -a "$out/log.txt"
}

if "$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
    step "tests on CUDA" "$python" -m pytest -q -m gpu
    step "ViT-L/14 on CUDA" "$python" benchmarks/embed.py --device cuda --model ViT-L-14 \
        --images 8192 --no-peer --json "$out/vit-l-14.json" "${photos[@]}"
    step "offline model on CUDA" "$python" benchmarks/embed.py --device cuda --images 8192 \
        --json "$out/offline.json" "${photos[@]}"
else
    step "not run, no CUDA device: tests on CUDA, ViT-L/14, offline model on CUDA" true
    step "offline model on CPU" "$python" benchmarks/embed.py --device cpu --images 256 --rounds 1 \
        --json "$out/offline.json" "${photos[@]}"
fi
step "agreement of devices" "$python" benchmarks/agreement.py
