#!/usr/bin/env bash
# Everything that needs a GPU to be seen, in one command without a network:
#
#     benchmarks/gpu.sh FOLDER_OF_PHOTOGRAPHS [PART ...]
#
# Parts: tests, devices, vit, offline, agreement; all of them if none is named. A part that fails
# or takes too long hides no other; the table of what became of each comes last. Without a CUDA
# device the same parts run, smaller, on CPU, and the tests on CUDA are skipped by name.
# PYTHON names another interpreter than that of `make install`, OUT a folder for logs and figures.
set -uo pipefail
if [ $# = 0 ]; then
    sed -n '2,9s/^# \{0,1\}//p' "$0"
    exit 2
fi
photos=$(realpath "$1")
shift
cd "$(dirname "$0")/.." || exit 2
python=${PYTHON:-.venv/bin/python}
out=${OUT:-data/gpu}
parts=${*:-tests devices vit offline agreement}
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1 HF_HUB_OFFLINE=1
mkdir -p "$out"

device=cpu images=256 vit=ViT-B-32
if "$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
    device=cuda images=16384 vit=ViT-L-14
fi
embed() {
    "$python" benchmarks/embed.py --device $device --photos "$photos" --rounds 1 "$@"
}
part() {
    case $1 in
    tests) "$python" -m pytest -q -p no:cacheprovider -m gpu tests/kernels tests/defs ;;
    devices) "$python" benchmarks/devices.py --photos "$photos" --device $device ;;
    vit)
        local precision=(--precision bfloat16 --execution graph --executions eager graph compiled)
        [ $device = cuda ] || precision=()
        embed --model $vit --images $images --no-peer --profile "${precision[@]}" \
            --json "$out/vit.json"
        ;;
    offline) embed --images $images --profile --json "$out/offline.json" ;;
    agreement) "$python" benchmarks/agreement.py ;;
    *) echo "no such part: $1" && return 2 ;;
    esac
}
export -f part embed
export python photos out device images vit

rows=() failed=0
for name in $parts; do
    printf '\n== %s on %s\n' "$name" $device
    SECONDS=0
    timeout "${LIMIT:-600}" bash -c 'part "$1"' part "$name" 2>&1 | tee "$out/$name.log"
    status=${PIPESTATUS[0]}
    [ "$status" = 0 ] || failed=1
    rows+=("$(printf '%-10s %-5s status %-4s %4d s' "$name" $device "$status" $SECONDS)")
done
printf '\n== what became of each part\n'
printf '%s\n' "${rows[@]}"
exit $failed
