#!/usr/bin/env bash
# Runs every fuzz target of the module, one after the other, for the time given (default 60s).
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:-60s}
failed=0
count=0
for pkg in $(go list ./...); do
	targets=$(go test -list '^Fuzz' "$pkg" 2>/dev/null | grep '^Fuzz' || true)
	for target in $targets; do
		count=$((count + 1))
		echo "== $pkg $target for $time"
		go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" "$pkg" </dev/null || { failed=$((failed + 1)); echo "FINDING in $pkg $target"; }
	done
done
echo "$count fuzz targets for $time each, $failed with findings"
[ "$failed" -eq 0 ] && [ "$count" -gt 0 ]
