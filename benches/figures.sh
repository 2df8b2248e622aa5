#!/usr/bin/env bash
# The figures of docs/benchmarks: import rate on one node and on three, resident memory over raw vector bytes, start-up
# time, and the three ways to catch up. Real processes on loopback; everything in a temporary directory.
#
#   benches/figures.sh [DATA]      DATA: a directory laid out like data/wordnet-10k (the default)
#
# Needs jq and curl, and target/release/pando (make figures builds it).
set -euo pipefail
cd "$(dirname "$0")/.."

data=${1:-data/wordnet-10k}
pando=$PWD/target/release/pando
dir=$(mktemp -d)
pid=
cleanup() {
  if [[ -n $pid ]]; then
    kill "$pid"
    wait "$pid" || true # it was told to end; how it ends is not this script's matter
  fi
  rm -rf "$dir"
}
trap cleanup EXIT

# serve: starts the node anew and waits until it is ready; sets pid, api, http and took (seconds).
serve() {
  local from
  rm -f "$dir/ready"
  from=$(date +%s%N)
  "$pando" serve --output json --data-dir "$dir/one" --api-listen 127.0.0.1:0 --node-listen 127.0.0.1:0 \
    --http-listen 127.0.0.1:0 >"$dir/ready" 2>"$dir/log" &
  pid=$!
  until [[ -s $dir/ready ]]; do
    kill -0 "$pid" # ends the script if the node has ended
    sleep 0.02
  done
  api=$(jq -r .api "$dir/ready")
  http=$(jq -r .http "$dir/ready")
  until curl -sf "http://$http/readyz" >"$dir/readyz"; do
    kill -0 "$pid"
    sleep 0.02
  done
  took=$(awk -v ns="$(($(date +%s%N) - from))" 'BEGIN { print ns / 1e9 }')
}

metric() { curl -sf "http://$http/metrics" | awk -v name="$1" '$1 == name { print $2 }'; }

serve
"$pando" collection create words --dim 384 --metric cosine --node "$api" >"$dir/out"
"$pando" import words --vectors "$data/vectors.f16.npy" --payloads "$data/payloads.jsonl.gz" --node "$api" \
  --output json >"$dir/import"
points=$(jq -r .points "$dir/import")
rate_one=$(jq -r '.points_per_second // (.points / .seconds)' "$dir/import")
raw=$((points * 384 * 4))
resident=$(metric pando_resident_memory_bytes)
kill "$pid"
wait "$pid" || true # as above
serve
started=$took
resident_again=$(metric pando_resident_memory_bytes)
"$pando" demo --data "$data" --output json >"$dir/demo"

echo "machine: $(nproc) cores, $(awk -F': ' '/model name/ { print $2; exit }' /proc/cpuinfo); commit $(git rev-parse --short HEAD)"
echo "data: $data, $points points x 384 (f32 in memory: $((raw >> 20)) MiB)"
echo
jq -r --argjson one "$rate_one" --argjson raw "$raw" --argjson rss "$resident" --argjson again "$resident_again" \
  --argjson start "$started" '
  def r: . * 100 | round / 100;
  "| figure | value |",
  "|---|---|",
  "| import, one node | \($one | round) points/s |",
  "| import, three nodes (every write on disk on two) | \(.import.points_per_second | round) points/s |",
  "| resident memory after import / raw vector bytes | \($rss / $raw | r) |",
  "| resident memory after a restart / raw vector bytes | \($again / $raw | r) |",
  "| start-up, from exec to ready | \($start | r) s |",
  "",
  "| catch-up | records moved | bytes in | bytes out | bytes / changed bytes | seconds |",
  "|---|---|---|---|---|---|",
  (.catch_up[] | "| \(.method) | \(.records_moved) | \(.bytes_in) | \(.bytes_out) | \(.bytes_per_changed_byte | r) | \(.seconds | r) |")
' "$dir/demo"
