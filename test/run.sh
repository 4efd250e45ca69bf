#!/usr/bin/env bash
# Runs the tests on real services and says at the end how many ran on what, and what was absent.
#
#   test/run.sh [go test arguments]      default: every package of the module
#
# It installs what is missing where it may (test/services/setup.sh), starts one Kafka broker for the whole run, and leaves
# PostgreSQL to the tests: each test process starts a private one in half a second. What cannot be had is skipped, loudly.
# Set TOKIFLOW_TEST_REQUIRE to make a missing service a failure.
set -euo pipefail
cd "$(dirname "$0")/.."

broker=
finish() {
	[ -z "$broker" ] || test/services/kafka.sh remove "$broker" || true
}
trap finish EXIT
trap 'exit 130' INT TERM

test/services/setup.sh </dev/null || echo "run.sh: setup failed: what needs the missing parts is skipped" >&2

if [ -z "${TOKIFLOW_TEST_KAFKA:-}" ]; then
	if env=$(KAFKA_PARENT=$$ test/services/kafka.sh start </dev/null); then
		TOKIFLOW_TEST_KAFKA=$(sed -n 's/^TOKIFLOW_TEST_KAFKA=//p' <<<"$env")
		broker=$(sed -n 's/^TOKIFLOW_TEST_KAFKA_DIR=//p' <<<"$env")
		export TOKIFLOW_TEST_KAFKA
	else
		echo "run.sh: no Kafka broker: its tests are skipped" >&2
	fi
fi

# Built before the tests, for the first time takes minutes; and by name, so that no test process builds it again.
if env=$(test/services/prometheus.sh install </dev/null); then
	while read -r line; do export "${line?}"; done <<<"$env"
else
	echo "run.sh: no Prometheus: its tests are skipped" >&2
fi

if env=$(test/services/alertmanager.sh install </dev/null); then
	while read -r line; do export "${line?}"; done <<<"$env"
else
	echo "run.sh: no Alertmanager: its tests are skipped" >&2
fi

mkdir -p bin
go build -o bin/summary ./test/summary
whole=
[ "$#" -gt 0 ] || { whole=1; set -- ./...; }
tests() {
	local status=0
	go test -json -timeout 20m "$@" </dev/null 2>&1 || status=$?
	# Prometheus' own tests of PromQL are a module of their own: they need what the product must not have.
	[ -z "$whole" ] || (cd test/promql && go test -json -timeout 20m ./... </dev/null 2>&1) || status=$?
	return "$status"
}
tests "$@" | bin/summary
