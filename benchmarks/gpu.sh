#!/usr/bin/env bash
# All GPU figures in one go, within ten minutes on one H100 or H200: bash benchmarks/gpu.sh [FOLDER]
# Needs torch >= 2.11, transformers >= 5.17 and timm; none of DVC, MLflow or pycocotools.
set -euo pipefail
cd "$(dirname "$0")/.."
output=${1:-reports/benchmarks}
mkdir -p "$output"
export PYTHONPATH=$PWD/src:$PWD/benchmarks${PYTHONPATH:+:$PYTHONPATH}
nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv
# The kernels first: they must equal the loop of torch's own on this very device.
python -m pytest -q -p no:cacheprovider tests/model/test_scan_gpu.py || echo "the sweep's kernels FAILED their tests"
timeout 500 python benchmarks/gpu.py --params presets/paper.yaml --output "$output/gpu.json" --trace "$output/gpu-trace.json"
