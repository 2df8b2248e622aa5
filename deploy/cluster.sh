#!/usr/bin/env bash
# Brings the cluster of docker-compose.yml up and forms it, or takes it down with its data.
#
#   deploy/cluster.sh up | down
set -euo pipefail
# shellcheck source=deploy/lib.sh
source "$(dirname "$0")/lib.sh"

up() {
  start_containers
  form_cluster
  on node1 cluster status
}

down() { compose down --volumes --remove-orphans; }

require docker jq curl
case ${1:-} in
  up) up ;;
  down) down ;;
  *) echo "usage: deploy/cluster.sh up | down" >&2; exit 2 ;;
esac
