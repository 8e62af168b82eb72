#!/usr/bin/env bash
# serve.sh FOLDER PORT NAME [flags of vllm serve]: serves a checkpoint on loopback with vLLM, until it is ended. Ready
# after about 40 s, when http://127.0.0.1:PORT/v1/models answers.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
env=$("$here/make_vllm.sh")
folder=$1 port=$2 name=$3
shift 3
export VLLM_HOST_IP=127.0.0.1 VLLM_CPU_KVCACHE_SPACE=${VLLM_CPU_KVCACHE_SPACE:-2} OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
export HF_HUB_OFFLINE=1 VLLM_NO_USAGE_STATS=1 DO_NOT_TRACK=1
# Without the flags on prefill, a request with a seed whose prompt is cut into chunks kills the engine of vLLM 0.32.0 on
# CPUs ("CPU Generator does not use offset").
exec "$env/bin/vllm" serve "$folder" --host 127.0.0.1 --port "$port" --served-model-name "$name" --max-model-len 2048 \
    --enforce-eager --no-enable-chunked-prefill --max-num-batched-tokens 8192 "$@"
