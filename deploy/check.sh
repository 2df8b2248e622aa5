#!/usr/bin/env bash
# Proves the deployment on a real Docker engine: the very image and Compose file users run, in a cluster of its own
# (own network, own volumes, free ports), which is always taken down again. Every wait is for a fact, with a deadline.
#
#   deploy/check.sh        exit code 0 only if every step held
set -euo pipefail

export PANDO_CLUSTER=pando-check
# Empty: the engine picks free ports on the host, so a running `make cluster-up` is not in the way.
export PANDO_API_1='' PANDO_API_2='' PANDO_API_3='' PANDO_HTTP_1='' PANDO_HTTP_2='' PANDO_HTTP_3=''
# shellcheck source=deploy/lib.sh
source "$(dirname "$0")/lib.sh"

readonly base_points=10000 more_points=500
readonly heal_seconds=120

take_down() {
  local code=$?
  if ((code != 0)); then
    echo "== the nodes' last words" >&2
    compose ps >&2
    compose logs --tail 40 >&2
  fi
  compose down --volumes --remove-orphans >/dev/null 2>&1
  exit "$code"
}

step() { echo "== $*"; }

disconnect() { docker network disconnect "$PANDO_CLUSTER" "$(container_of "$1")"; }
# The alias is what Compose gave the container at first: without it the other nodes could not find it by name.
reconnect() { docker network connect --alias "$1" "$PANDO_CLUSTER" "$(container_of "$1")"; }
others() { local node; for node in node1 node2 node3; do [[ $node == "$1" ]] || echo "$node"; done; }
moved_on() { local now; now=$(leader "$1") && [[ $now != "$2" ]]; }

form() {
  step "three containers from one image form a cluster"
  start_containers
  form_cluster
}

import_base() {
  step "$base_points real points go in, and are on every node"
  cli collection create words --dim 384 --metric cosine --node node1:7700
  cli import words --vectors /data/vectors.f16.npy --payloads /data/payloads.jsonl.gz --node node1:7700
  local node
  for node in node1 node2 node3; do eventually 60 "$node counts $base_points" count_is "$node" "$base_points"; done
  verified node1
}

cut_follower() {
  local old witness
  old=$(others "$(leader node1)" | head -n 1)
  witness=$(leader node1)
  step "a follower ($old) loses its network: the others take writes, and it catches up"
  disconnect "$old"
  cli import words --vectors /data/inserts.f16.npy --payloads /data/inserts.jsonl.gz --first-id "$base_points" \
    --node "$witness:7700"
  count_is "$witness" $((base_points + more_points)) || fail "$witness does not count the new points"
  echo "   $more_points more points, acknowledged by the majority"
  reconnect "$old"
  eventually "$heal_seconds" "$old counts them too" count_is "$old" $((base_points + more_points))
  eventually "$heal_seconds" "all roots are equal" verified "$witness"
}

cut_leader() {
  local old witness
  old=$(leader node1)
  witness=$(others "$old" | head -n 1)
  step "the leader ($old) loses its network: another takes over, and no write is taken by the minority"
  disconnect "$old"
  local code=0
  on "$old" delete words --id 0 || code=$?
  case $code in
    0) fail "$old acknowledged a delete without a majority" ;;
    124) fail "$old did not answer: a minority must refuse, not hang" ;;
  esac
  eventually 60 "the majority has a new leader" moved_on "$witness" "$old"
  on "$witness" delete words --id 1
  reconnect "$old"
  eventually "$heal_seconds" "$old follows" count_is "$old" $((base_points + more_points - 1))
  eventually "$heal_seconds" "all roots are equal" verified "$witness"
  on "$old" get words --id 0 >/dev/null || fail "the refused delete happened after all"
  echo "   the refused delete did not happen, the acknowledged one did"
}

replace_wiped() {
  local gone witness old_id new_id
  witness=$(leader node1)
  gone=$(others "$witness" | head -n 1)
  old_id=$(id_of "$witness" "$gone")
  step "$gone loses its disk: it comes back empty, under a new id, and is filled again"
  compose rm --stop --force "$gone"
  docker volume rm "$PANDO_CLUSTER-$gone" >/dev/null
  compose up --detach --no-deps "$gone"
  eventually 60 "$gone is up, empty" alive "$gone"
  on "$witness" cluster remove "$old_id" --force
  on "$witness" cluster add "$gone:7700"
  new_id=$(id_of "$witness" "$gone")
  [[ $new_id != "$old_id" ]] || fail "$gone came back under its old id $old_id"
  eventually "$heal_seconds" "$gone holds every point" count_is "$gone" $((base_points + more_points - 1))
  on "$witness" cluster promote "$new_id"
  eventually 60 "three voters are serving" voters_are "$witness" 3
  eventually "$heal_seconds" "all roots are equal" verified "$witness"
}

rolling_restart() {
  local node
  step "a rolling restart: each container in turn, the data stays"
  for node in node1 node2 node3; do
    compose restart "$node"
    eventually "$heal_seconds" "$node is back, three voters are serving" voters_are "$node" 3
  done
  for node in node1 node2 node3; do
    eventually 60 "$node counts every point" count_is "$node" $((base_points + more_points - 1))
  done
}

require docker jq curl
trap take_down EXIT
compose down --volumes --remove-orphans >/dev/null 2>&1
form
import_base
cut_follower
cut_leader
replace_wiped
rolling_restart
step "the proof: equal roots on all nodes"
verified node1
on node1 cluster status
echo "== compose check passed in $SECONDS s"
