#!/usr/bin/env bash
# The commands of the nano story, stage by stage. A stage that was cut off resumes; a finished one is skipped.
# Times and numbers are those of the shipped run (two CPU cores with AVX512-BF16, seed 0). Its base was trained in three
# versions of script and figures, and its labels came from an earlier version of the search (recipes/LOG.md): these
# commands have never been run in one go, and make models like the shipped ones, not the same.
set -euo pipefail
cd "$(dirname "$0")/../.."
RUN=${RUN:-out/nano}
PYTHON=${PYTHON:-.venv/bin/python}
MMPRM=${MMPRM:-.venv/bin/mmprm}
done_once() { [ -e "$RUN/$1.done" ] || { "${@:2}" && touch "$RUN/$1.done"; }; }
mkdir -p "$RUN"

# 1. Base: reading, solving, judging, from an endless stream of train problems. 95 minutes; judge accuracy on training batches 0.978.
done_once base "$PYTHON" recipes/nano/pretrain_base.py --output "$RUN/base" --steps 4800

# 2. Policy: supervised fine-tuning on the imperfect corpus (TRL's SFTTrainer). 4 minutes; mean pass@1 54 % on test.
done_once policy "$PYTHON" recipes/nano/train_policy.py --base "$RUN/base" --output "$RUN/policy"

# 3. Step labels: OmegaPRM search over 1,000 train problems. 3 minutes, 200 rollouts a second; 3,641 rows when the shipped PRM was made, 3,542 today.
done_once labels "$MMPRM" label --policy "$RUN/policy" --output "$RUN/labels" --num-problems 1000 \
    --config recipes/nano/label.yaml

# 4. Judge: the base trained on, mostly on the families that it reads worst. 10 minutes; judge accuracy 0.99.
judge() {
    if [ ! -e "$RUN/judge" ]; then  # a copy that was cut off never has the final name
        rm -rf "$RUN/judge.part" && cp -r "$RUN/base" "$RUN/judge.part" && mv "$RUN/judge.part" "$RUN/judge"
    fi
    "$PYTHON" recipes/nano/pretrain_base.py --output "$RUN/judge" --steps 5450 --decay-share 0.119 \
        --learning-rate 1e-3 --favour clock pictogram number_line bar_chart grid_path
}
done_once judge judge

# 5. PRM: from the judge, on the Monte Carlo labels (PRMTrainer). 1 minute; step AUROC 0.906 on test.
done_once prm "$MMPRM" train --model "$RUN/judge" --data "$RUN/labels/paths" --output "$RUN/prm" \
    --config recipes/nano/prm.yaml

# 6. The table, on 500 test problems. No stage has seen their figures; of 117 the base has seen question and facts in
# another figure (twins.py). 2 minutes; best-of-16 83.6 %, weighted vote 86.2 %.
"$MMPRM" evaluate nano --policy "$RUN/policy" --prm "$RUN/prm" --output "$RUN/results.json"

# 7. What each stage adds. The soft-label row needs a second PRM: label_mapping soft, output $RUN/prm_soft. 2 minutes.
"$PYTHON" recipes/nano/study.py --run "$RUN" --output "$RUN/stages.json"

# To ship a run: python recipes/nano/ship.py --run out/nano; mmprm evaluate nano --curves --diagnose -o
# recipes/nano/results/evaluate.json; mmprm demo --num-problems 500 --output out/demo500, then by_family.py and twins.py;
# label_truth.py --labels out/nano/labels (labels.json); facts.py (cards); python docs/tables.py.
