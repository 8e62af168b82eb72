#!/usr/bin/env bash
# A policy that speaks a language, end to end: a stock chat model of 135 million parameters, plain worded solutions, Monte
# Carlo labels, and a PRM made from the policy itself. No stage is told how the policy writes its steps, and no label comes
# from anything but answers. A finished stage is skipped, an unfinished one resumes.
set -euo pipefail
cd "$(dirname "$0")/../.."
RUN=${RUN:-out/smollm2}
PYTHON=${PYTHON:-.venv/bin/python}
MMPRM=${MMPRM:-.venv/bin/mmprm}
HERE=recipes/smollm2
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} HF_HUB_OFFLINE=1 PYTHONUNBUFFERED=1
mkdir -p "$RUN"

count_cpu() { # CPU: seconds of one core that all commands so far have used
    times >"$RUN/.cpu"
    CPU=$(awk 'NR == 2 { split($1, user, /[ms]/); print int(60 * user[1] + user[2]) }' "$RUN/.cpu")
}
stage() { # stage NAME COMMAND...: once; times.tsv gets its seconds, and those of one core
    [ -e "$RUN/$1.done" ] && return
    echo "== $1"
    count_cpu
    local begin=$SECONDS cpu=$CPU
    "${@:2}"
    count_cpu
    printf '%s\t%s\t%s\n' "$1" $((SECONDS - begin)) $((CPU - cpu)) >>"$RUN/times.tsv"
    touch "$RUN/$1.done"
}

# 1. Problems: questions and answers of reasoning-gym, which has an environment of its own; solutions are written here.
problems() {
    [ -e "$RUN/gym/bin/pip" ] || "${GYM_PYTHON:-python3.11}" -m venv "$RUN/gym"
    "$RUN/gym/bin/pip" install --quiet reasoning-gym==0.1.25
    "$RUN/gym/bin/python" $HERE/problems.py --output "$RUN/problems"
}
stage problems problems

# 2. Policy: the chat model on train problems, its own chat template, paragraphs (TRL's SFTTrainer); then its mean pass@1.
policy() {
    "$PYTHON" $HERE/policy.py --model "${MODEL:-$(recipes/real/make_smollm2.sh)}" --data "$RUN/problems/train.jsonl" \
        --output "$RUN/policy"
}
stage policy policy
stage dev "$PYTHON" $HERE/measure.py --model "$RUN/policy" --data "$RUN/problems/dev.jsonl" --output "$RUN/dev.json"

# 3. Labels by OmegaPRM, and a PRM: the policy with a LoRA adapter, trained on them.
label_and_train() { # label_and_train SEARCH
    stage "labels_$1" "$MMPRM" label --policy "$RUN/policy" --data "$RUN/problems/label.jsonl" \
        --search "$1" --config "$HERE/$1.yaml" --output "$RUN/labels_$1"
    stage "prm_$1" "$MMPRM" train --model "$RUN/policy" --data "$RUN/labels_$1/paths" --config $HERE/prm.yaml --eval-share 0 \
        --output "$RUN/prm_$1"
}
label_and_train omegaprm

# 4. Held-out problems: 8 candidates each, judged by the PRM, by majority vote and by both.
HELD_OUT=(--benchmark own --data "$RUN/problems/heldout.jsonl")
stage evaluate_omegaprm "$MMPRM" evaluate answers "${HELD_OUT[@]}" --policy "$RUN/policy" --prm "$RUN/prm_omegaprm" \
    --num-candidates 8 --max-new-tokens 160 --output "$RUN/omegaprm/results.json"

# 5. The same with labels by flat Monte Carlo, on the same problems and the same candidates.
label_and_train flat_mc
stage evaluate_flat_mc "$MMPRM" evaluate answers "${HELD_OUT[@]}" --candidates "$RUN/omegaprm/candidates.jsonl" \
    --prm "$RUN/prm_flat_mc" --output "$RUN/flat_mc/results.json"

# 6. The table and the page. To keep a run: copy both results.json to $HERE/results/{omegaprm,flat_mc}.json.
"$PYTHON" $HERE/report.py "$RUN/omegaprm/results.json" "$RUN/flat_mc/results.json"
"$MMPRM" report "$RUN/omegaprm/results.json" "$RUN/flat_mc/results.json" --output "$RUN/report.html"
