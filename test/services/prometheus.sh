#!/usr/bin/env bash
# The real Prometheus for the tests: prometheus and promtool, built once from the module in test/prometheus.
#
#   prometheus.sh install              build both into the cache, unless they are there, and print where they are
#   prometheus.sh watch PARENT CHILD   kill -9 the process CHILD when the process PARENT is gone, however that ended
#
# Variables: TOKIFLOW_TEST_PROMETHEUS and TOKIFLOW_TEST_PROMTOOL name programs to be used instead.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
module=$here/../prometheus
cache=${XDG_CACHE_HOME:-$HOME/.cache}/tokiflow
version=$(sed -n 's:^require github.com/prometheus/prometheus \(v[^ ]*\).*:\1:p' "$module/go.mod")
programs=$cache/prometheus-$version

die() {
	echo "prometheus.sh: $*" >&2
	exit 1
}

build() {
	[ -e "$programs/complete" ] && return
	command -v go >/dev/null || die "go is missing"
	mkdir -p "$cache"
	# One process at a time; the others find it done.
	exec 9>"$cache/prometheus.lock"
	flock 9
	[ -e "$programs/complete" ] && return
	rm -rf "$programs.new"
	mkdir -p "$programs.new"
	# Of the service discoveries only that over HTTP: the others are hundreds of modules, of which one cannot be had.
	(cd "$module" && CGO_ENABLED=0 GOFLAGS=-mod=readonly GOWORK=off go build -trimpath -tags remove_all_sd,enable_http_sd \
		-o "$programs.new/" github.com/prometheus/prometheus/cmd/prometheus github.com/prometheus/prometheus/cmd/promtool) >&2 ||
		die "Prometheus $version could not be built"
	touch "$programs.new/complete"
	rm -rf "$programs"
	mv "$programs.new" "$programs"
	exec 9>&-
}

case "${1:-}" in
install)
	if [ -z "${TOKIFLOW_TEST_PROMETHEUS:-}" ] || [ -z "${TOKIFLOW_TEST_PROMTOOL:-}" ]; then
		build
	fi
	printf 'TOKIFLOW_TEST_PROMETHEUS=%s\nTOKIFLOW_TEST_PROMTOOL=%s\n' \
		"${TOKIFLOW_TEST_PROMETHEUS:-$programs/prometheus}" "${TOKIFLOW_TEST_PROMTOOL:-$programs/promtool}"
	;;
watch)
	while kill -0 "$2" 2>/dev/null && kill -0 "$3" 2>/dev/null; do
		sleep 1
	done
	kill -KILL "$3" 2>/dev/null || true
	;;
*)
	sed -n '2,7s/^# \{0,1\}//p' "$0" >&2
	exit 2
	;;
esac
