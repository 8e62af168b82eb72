# Sourced by the scripts beside it: names the folder in which they make things, and lets one of them work at a time.
CACHE=${MMPRM_REAL:-${TMPDIR:-/tmp}/mmprm-real}
mkdir -p "$CACHE"
exec 9>"$CACHE/.lock"
flock 9
