#!/usr/bin/env bash
# Measures this machine: the server (test/bench) on both logs, and the reads of the time series (tsdb). Arguments go to test/bench.
set -euo pipefail
cd "$(dirname "$0")/.."

broker=
finish() {
	[ -z "$broker" ] || test/services/kafka.sh remove "$broker" || true
}
trap finish EXIT
if [ -z "${TOKIFLOW_TEST_KAFKA:-}" ] && env=$(KAFKA_PARENT=$$ test/services/kafka.sh start </dev/null); then
	TOKIFLOW_TEST_KAFKA=$(sed -n 's/^TOKIFLOW_TEST_KAFKA=//p' <<<"$env")
	broker=$(sed -n 's/^TOKIFLOW_TEST_KAFKA_DIR=//p' <<<"$env")
	export TOKIFLOW_TEST_KAFKA
fi
go run ./test/bench "$@"
if [ "$#" -eq 0 ]; then
	printf '\n## reads of the time series\n\n'
	go test -run '^$' -bench . -benchtime 20x -timeout 30m ./tsdb
fi
