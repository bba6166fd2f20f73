#!/usr/bin/env bash
# Measure one GPU within ten minutes (on an H100 or H200): bash benchmarks/gpu.sh [FOLDER]
# This needs torch >= 2.11, timm, transformers >= 5.17 and pytest; DVC, MLflow and pycocotools are not needed.
set -euo pipefail
cd "$(dirname "$0")/.."
output=${1:-reports/benchmarks}
mkdir -p "$output"
export PYTHONPATH=$PWD/src:$PWD/benchmarks${PYTHONPATH:+:$PYTHONPATH}
nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv
# The kernels come first: on this device they must agree with the reference, a loop of torch operations.
python -m pytest -q -p no:cacheprovider tests/scan/test_triton_gpu.py \
    || echo "the sweep's kernels FAILED their tests"
timeout 500 python benchmarks/gpu.py --params presets/paper.yaml \
    --output "$output/gpu.json" --trace "$output/gpu-trace.json"
