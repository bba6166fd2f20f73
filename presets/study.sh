#!/usr/bin/env bash
# Queues the ablation study of docs/ablations.md; every variant is trained on the same number of expressions:
#
#   cp presets/study.yaml params.yaml && git commit params.yaml -m "The study"
#   dvc repro                                             # the data and the three full models, seed 1
#   presets/study.sh && OMP_NUM_THREADS=1 dvc queue start --jobs 2
#   s2rm ablation --name study                            # when `dvc queue status` shows them all done
set -euo pipefail

# train RUN "SEEDS" [KEY=VALUE...]: one of the three models alone, with these values, for each seed
train() {
    local run=$1 seeds=$2 options=() other value seed
    shift 2
    for other in structured two_hops easy; do [ "$other" = "$run" ] || options+=(-S "~runs.$other"); done
    for value in "$@"; do options+=(-S "$value"); done
    for seed in $seeds; do dvc exp run --queue -S "train.seed=$seed" "${options[@]}"; done
}

no_sweep=fusion.coparsing=none
competing=(fusion.affinity=softmax fusion.refine=false) # the usual distribution: words compete, no refinement

# Seed by seed, so that a study that is cut short still compares equal seeds.
for seed in 1 2 3 4 5 6 7 8; do
    [ "$seed" = 1 ] || train structured $seed
    train structured $seed $no_sweep
    train structured $seed "${competing[@]}"
    train structured $seed "${competing[@]}" $no_sweep
done
for seed in 1 2 3 4; do
    [ "$seed" = 1 ] || train two_hops $seed
    train two_hops $seed $no_sweep
done
for seed in 1 2 3; do
    [ "$seed" = 1 ] || train easy $seed
    train easy $seed $no_sweep
    train easy $seed fusion.kind=pwam
    train easy $seed "${competing[@]}"
    for variant in \
        fusion.kind=pwam fusion.kind=concat fusion.kind=none \
        fusion.affinity=softmax fusion.refine=false \
        fusion.coparsing=language_to_vision fusion.coparsing=vision_to_language \
        fusion.rotations=2 fusion.rotations=1 fusion.balancing=false decoder.kind=fpn; do
        train structured $seed $variant
    done
done
# One seed: a look, no more.
for variant in \
    fusion.distribution=tile fusion.query=word fusion.state=match fusion.recurrence=gru \
    fusion.cascade=bottom_up 'fusion.stages=[3,4]' 'fusion.stages=[2]' \
    vision.coordinates=false; do
    train structured 1 "$variant"
done
