#!/bin/sh
# Wait until the server serves, then make the namespace if it is not there.
# TEMPORAL_ADDRESS and TEMPORAL_NAMESPACE are read by the command line itself.
set -eu

serving() {
  temporal operator cluster health >/dev/null 2>&1
}

there() {
  temporal operator namespace describe --namespace "$TEMPORAL_NAMESPACE" >/dev/null 2>&1
}

tries=0
until serving; do
  tries=$((tries + 1))
  if [ "$tries" -ge 60 ]; then
    echo "no Temporal serves at $TEMPORAL_ADDRESS after 60 tries" >&2
    exit 1
  fi
  sleep 1
done

there || temporal operator namespace create \
  --namespace "$TEMPORAL_NAMESPACE" --retention "${RETENTION:-30d}"
