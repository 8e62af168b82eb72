#!/usr/bin/env bash
# The PRM as a reward, on the nano policy: the hacks, six GRPO runs, the tables. A finished run is skipped, an unfinished
# one is resumed. Times are for one CPU core.
set -euo pipefail
cd "$(dirname "$0")/../.."
RUN=${RUN:-out/grpo}
PYTHON=${PYTHON:-.venv/bin/python}
HERE=recipes/grpo_with_prm
mkdir -p "$RUN"

# 1. What each hack earns from the shipped PRM, guards off and on. 2 minutes.
[ -e "$RUN/hacks.done" ] || { "$PYTHON" $HERE/hacks.py && touch "$RUN/hacks.done"; }

# 2. The policy as it is: 500 test problems, 8 samples each and one greedy response. 1.5 minutes.
[ -e "$RUN/before.done" ] || { "$PYTHON" $HERE/evaluate.py --name before && touch "$RUN/before.done"; }

# 3. Three seeds of each arm: 60 updates of 64 completions, then the test problems. 8 minutes each.
for seed in 0 1 2; do
    for arm in answer prm_and_answer; do
        name=$arm-$seed
        [ -e "$RUN/$name.done" ] && continue
        "$PYTHON" $HERE/train.py --arm "$arm" --seed "$seed" --output "$RUN/$name"
        "$PYTHON" $HERE/evaluate.py --policy "$RUN/$name" --name "$arm/$seed"
        touch "$RUN/$name.done"
    done
done

# 4. The tables.
"$PYTHON" $HERE/report.py
