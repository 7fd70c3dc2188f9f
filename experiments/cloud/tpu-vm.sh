#!/usr/bin/env bash
# Trains on all hosts of a TPU slice, and goes on after each preemption. From the repository:
#
#   export NAME=midijax ZONE=us-west4-a TYPE=v5litepod-16 RUNTIME=v2-alpha-tpuv5-lite
#   experiments/cloud/tpu-vm.sh keep --workdir=gs://bucket/runs/mine --data=gs://bucket/data/mine \
#       --config=experiments/performance_rnn.py
#
# The hosts need leave to read and write the bucket. `keep` creates the slice, sets its hosts up,
# trains, and does so again until the run is finished; the slice stays until `delete`. Each step is
# a command too: create, setup, run FLAGS, stop (from another terminal), delete.
set -euo pipefail

: "${NAME:?}" "${ZONE:?}" "${TYPE:?}" "${RUNTIME:?}"
readonly TRY_AGAIN=75 BAD_INPUT=2 MAX_CRASHES=5
readonly SECONDS_BETWEEN_LOOKS=${SECONDS_BETWEEN_LOOKS:-30}

tpus() { gcloud compute tpus "$1" "$2" "$NAME" --zone="$ZONE" "${@:3}"; }

on_hosts() { tpus tpu-vm ssh --worker="$1" --command="$2"; }

state() { tpus queued-resources describe --format="value(state.state)" 2>/dev/null || echo NONE; }

create() {
  tpus queued-resources create --node-id="$NAME" --accelerator-type="$TYPE" \
    --runtime-version="$RUNTIME" --spot
  until [[ $(state) == ACTIVE ]]; do sleep "$SECONDS_BETWEEN_LOOKS"; done
}

delete() { tpus queued-resources delete --force --quiet; }

setup() {
  git archive --prefix=midijax/ --output=midijax.tar HEAD
  gcloud compute tpus tpu-vm scp midijax.tar "$NAME:" --zone="$ZONE" --worker=all
  rm midijax.tar
  on_hosts all "
    set -e
    tar -xf midijax.tar
    cd midijax
    python3 -m pip install -q --user uv
    python3 -m uv venv -q --allow-existing --python=3.12 .venv
    python3 -m uv pip install -q --python=.venv/bin/python '.[tpu,gcs]'"
}

run() {
  on_hosts all "
    cd midijax
    rm -f exit-code
    .venv/bin/python -m midijax.train --distributed $(printf '%q ' "$@")
    echo \$? > exit-code"
}

exit_code() { on_hosts 0 "cat midijax/exit-code" 2>/dev/null || echo none; }

stop() { on_hosts 0 "pkill -TERM -f '[m]idijax.train'"; } # one is told, all stop

keep() {
  local code crashes=0
  while true; do
    if [[ $(state) != ACTIVE ]]; then
      [[ $(state) == NONE ]] || delete
      create
      setup
    fi
    run "$@" || true
    code=$(exit_code)
    [[ $(state) == ACTIVE ]] || continue
    case $code in
      0 | "$BAD_INPUT") return "$code" ;;
      "$TRY_AGAIN") crashes=0 ;;
      *) crashes=$((crashes + 1)) ;;
    esac
    if ((crashes > MAX_CRASHES)); then
      echo "The run broke off $crashes times in a row (exit code $code); it is given up." >&2
      return 1
    fi
    echo "The run ended with exit code $code; it goes on from its last checkpoint."
    sleep "$SECONDS_BETWEEN_LOOKS"
  done
}

case ${1:-} in
  create | setup | run | stop | delete | keep) "$@" ;;
  *)
    sed -n '2,/^set/s/^# \{0,1\}//p' "$0"
    exit "$BAD_INPUT"
    ;;
esac
