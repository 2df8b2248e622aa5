# Shared by cluster.sh and check.sh; sourced, not run. Everything they know about Compose and about the shape of the
# command line's JSON stands here.
# shellcheck shell=bash

deploy_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly deploy_dir

# Names of the network, the volumes and the Compose project: one per cluster, so that a check cannot touch the data
# of a cluster somebody is working with.
export PANDO_CLUSTER=${PANDO_CLUSTER:-pando}

fail() { echo "FAILED: $*" >&2; exit 1; }

require() {
  local tool
  for tool in "$@"; do command -v "$tool" >/dev/null || fail "$tool is not installed"; done
  docker info >/dev/null 2>&1 || fail "the Docker engine does not answer (docker info)"
  if docker compose version >/dev/null 2>&1; then
    compose_command=(docker compose)
  elif command -v docker-compose >/dev/null; then
    compose_command=(docker-compose)
  else
    fail "neither 'docker compose' nor 'docker-compose' is installed"
  fi
}

compose() { "${compose_command[@]}" --project-name "$PANDO_CLUSTER" --file "$deploy_dir/docker-compose.yml" "$@"; }

container_of() { compose ps --quiet "$1"; }

# on NODE ARGS..: the command line inside a node's container, against that very node: it works even when the container
# is cut off from the network. No command may take longer than two minutes; one that does ends with code 124.
on() {
  local node=$1
  shift
  timeout 120 docker exec "$(container_of "$node")" pando "$@" --node 127.0.0.1:7700
}

# cli ARGS..: the command line in a container of its own, on the cluster's network, with the demo data under /data.
cli() { compose run --rm -T cli "$@" </dev/null; }

# eventually SECONDS WHAT COMMAND..: runs the command until it succeeds; past the deadline, shows what it said last.
eventually() {
  local seconds=$1 what=$2 deadline=$((SECONDS + $1)) said
  shift 2
  until said=$("$@" 2>&1); do
    if ((SECONDS >= deadline)); then
      echo "$said" >&2
      fail "$what: not within $seconds s"
    fi
    sleep 0.5
  done
  echo "   $what"
}

# What the cluster says of itself, asked through NODE's own container.

status() { on "$1" cluster status --output json; }
leader() { status "$1" | jq -er '.nodes[] | select(.role == "leader") | .api | sub(":.*"; "")'; }
id_of() { status "$1" | jq -er --arg api "$2:7700" '.nodes[] | select(.api == $api) | .id'; }
count() { on "$1" collection info words --output json | jq -er '.count'; }

# Alive, through the port published on this machine; a node that is in no cluster yet is alive but not ready.
alive() { curl --fail --silent --show-error --max-time 5 "http://$(compose port "$1" 7702)/healthz"; }
voters_are() { [[ $(status "$1" | jq '[.nodes[] | select(.voter and .state == "serving")] | length') == "$2" ]]; }
count_is() { [[ $(count "$1") == "$2" ]]; }
verified() { on "$1" cluster verify; }

# One build for the three nodes: the services share an image.
start_containers() {
  compose build node1
  compose up --detach --no-build
}

# Waits for the containers, and makes them one cluster of three voters.
form_cluster() {
  local node
  for node in node1 node2 node3; do eventually 60 "$node is up" alive "$node"; done
  if status node1 >/dev/null 2>&1; then
    echo "   the cluster is formed already"
  else
    cli cluster init --node node1:7700 --join node2:7700 --join node3:7700
  fi
  eventually 60 "three voters are serving" voters_are node1 3
}
