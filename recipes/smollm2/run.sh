#!/usr/bin/env bash
# A policy that speaks a language, end to end: a stock chat model of 135 million parameters, plain worded solutions, Monte
# Carlo labels, and a PRM made from the policy itself. No stage is told how the policy writes its steps, and no label comes
# from anything but answers. A finished stage is skipped, an unfinished one resumes; times stand in $RUN/times.tsv.
set -euo pipefail
cd "$(dirname "$0")/../.."
RUN=${RUN:-out/smollm2}
PYTHON=${PYTHON:-.venv/bin/python}
MMPRM=${MMPRM:-.venv/bin/mmprm}
HERE=recipes/smollm2
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} HF_HUB_OFFLINE=1 PYTHONUNBUFFERED=1
mkdir -p "$RUN"

stage() { # stage NAME COMMAND...: once, with its seconds
    [ -e "$RUN/$1.done" ] && return
    echo "== $1"
    local begin=$SECONDS
    "${@:2}"
    printf '%s\t%s\n' "$1" $((SECONDS - begin)) >>"$RUN/times.tsv"
    touch "$RUN/$1.done"
}

# 1. Problems: reasoning-gym in an environment of its own, questions and answers are its own, solutions are written here.
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

# 3. Labels: two searches over the same problems, with as many rollouts at most.
for search in flat_mc omegaprm; do
    stage "labels_$search" "$MMPRM" label --policy "$RUN/policy" --data "$RUN/problems/label.jsonl" --num-problems 140 \
        --search $search --config $HERE/$search.yaml --output "$RUN/labels_$search"
done

# 4. A PRM of each: the policy with a LoRA adapter.
for search in flat_mc omegaprm; do
    stage "prm_$search" "$MMPRM" train --model "$RUN/policy" --data "$RUN/labels_$search/paths" --config $HERE/prm.yaml \
        --output "$RUN/prm_$search"
done

# 5. Held-out problems: 8 candidates each, then the second PRM on the same candidates.
BENCHMARK=(--benchmark own --data "$RUN/problems/heldout.jsonl" --num-candidates 8)
stage evaluate_omegaprm "$MMPRM" evaluate answers "${BENCHMARK[@]}" --policy "$RUN/policy" --prm "$RUN/prm_omegaprm" \
    --max-new-tokens 128 --output "$RUN/omegaprm/results.json"
stage evaluate_flat_mc "$MMPRM" evaluate answers "${BENCHMARK[@]}" --candidates "$RUN/omegaprm/candidates.jsonl" \
    --prm "$RUN/prm_flat_mc" --output "$RUN/flat_mc/results.json"

# 6. The table and the page.
"$MMPRM" report "$RUN/omegaprm/results.json" "$RUN/flat_mc/results.json" --markdown
"$MMPRM" report "$RUN/omegaprm/results.json" "$RUN/flat_mc/results.json" --output "$RUN/report.html"
