#!/usr/bin/env bash
# The whole nano story, from nothing to the table. Every stage resumes where it was cut off; a finished one is skipped.
# Times: two CPU cores with AVX512-BF16, nothing else running; numbers: seed 0.
set -euo pipefail
cd "$(dirname "$0")/../.."
RUN=${RUN:-out/nano}
PYTHON=${PYTHON:-.venv/bin/python}
MMPRM=${MMPRM:-.venv/bin/mmprm}
done_once() { [ -e "$RUN/$1.done" ] || { "${@:2}" && touch "$RUN/$1.done"; }; }
mkdir -p "$RUN"

# 1. Base: reading, solving, judging, from an endless stream of train problems. 75 minutes.
done_once base "$PYTHON" recipes/nano/pretrain_base.py --output "$RUN/base" --steps 4800

# 2. Policy: supervised fine-tuning on the imperfect corpus (TRL's SFTTrainer). 4 minutes.
done_once policy "$PYTHON" recipes/nano/train_policy.py --base "$RUN/base" --output "$RUN/policy"

# 3. Step labels: OmegaPRM search over 1,000 train problems. 3 minutes, 200 rollouts a second.
done_once labels "$MMPRM" label --policy "$RUN/policy" --output "$RUN/labels" --num-problems 1000 \
    --config recipes/nano/label.yaml

# 4. Judge: the base trained on, mostly on the families that it reads worst. 10 minutes.
judge() {
    [ -e "$RUN/judge/resume.pt" ] || cp -r "$RUN/base" "$RUN/judge"
    "$PYTHON" recipes/nano/pretrain_base.py --output "$RUN/judge" --steps 5450 --decay-share 0.119 \
        --learning-rate 1e-3 --favour clock pictogram number_line bar_chart grid_path
}
done_once judge judge

# 5. PRM: from the judge, on the Monte Carlo labels (PRMTrainer). 1 minute.
done_once prm "$MMPRM" train --model "$RUN/judge" --data "$RUN/labels/paths" --output "$RUN/prm" \
    --config recipes/nano/prm.yaml

# 6. The table, on 500 test problems that no stage has seen. 2 minutes.
"$MMPRM" evaluate --policy "$RUN/policy" --prm "$RUN/prm" --output "$RUN/results.json"
