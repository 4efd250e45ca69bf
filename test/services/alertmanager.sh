#!/usr/bin/env bash
# The real Alertmanager for the tests: alertmanager, amtool and Alertmanager's own acceptance tests, of the version in go.mod.
#
#   alertmanager.sh install   build all into the cache, unless they are there, and print where they are
#
# Variables: TOKIFLOW_TEST_ALERTMANAGER and TOKIFLOW_TEST_AMTOOL name programs to be used instead.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/tokiflow
module=github.com/prometheus/alertmanager
version=$(sed -n "s:^\s*$module \(v[^ ]*\).*:\1:p" "$here/../../go.mod")
programs=$cache/alertmanager-$version

die() {
	echo "alertmanager.sh: $*" >&2
	exit 1
}

build() {
	[ -e "$programs/complete" ] && return
	command -v go >/dev/null || die "go is missing"
	[ -n "$version" ] || die "go.mod names no version of $module"
	mkdir -p "$cache"
	# One process at a time; the others find it done.
	exec 9>"$cache/alertmanager.lock"
	flock 9
	[ -e "$programs/complete" ] && return
	rm -rf "$programs.new"
	mkdir -p "$programs.new"
	# As a module it does not compile: the files of its pages are left out of it. So it is built from a copy with a page of
	# ours. Its go.mod and go.sum are its own, and so are the tests.
	local from
	from=$(cd "$here/../.." && go mod download -json "$module" | sed -n 's:^\s*"Dir"\: "\(.*\)".*:\1:p')
	[ -d "$from" ] || die "$module $version cannot be had"
	cp -r "$from" "$programs.new/source"
	chmod -R u+w "$programs.new/source"
	for page in $(sed -n 's:^//go\:embed ::p' "$programs.new/source/ui/web.go"); do
		mkdir -p "$programs.new/source/ui/$page"
		echo "this Alertmanager has no pages" >"$programs.new/source/ui/$page/index.html"
	done
	(
		cd "$programs.new/source"
		export CGO_ENABLED=0 GOFLAGS=-mod=readonly GOWORK=off
		go build -trimpath -ldflags "-X github.com/prometheus/common/version.Version=${version#v}" -o "$programs.new/" ./cmd/alertmanager ./cmd/amtool
		go test -c -trimpath -o "$programs.new/acceptance.test" ./test/with_api_v2/acceptance
		go test -c -trimpath -o "$programs.new/cli.test" ./test/cli/acceptance
	) >&2 || die "Alertmanager $version could not be built"
	touch "$programs.new/complete"
	rm -rf "$programs"
	mv "$programs.new" "$programs"
	exec 9>&-
}

case "${1:-}" in
install)
	build
	printf 'TOKIFLOW_TEST_ALERTMANAGER=%s\nTOKIFLOW_TEST_AMTOOL=%s\nTOKIFLOW_TEST_ALERTMANAGER_DIR=%s\n' \
		"${TOKIFLOW_TEST_ALERTMANAGER:-$programs/alertmanager}" "${TOKIFLOW_TEST_AMTOOL:-$programs/amtool}" "$programs"
	;;
*)
	sed -n '2,6s/^# \{0,1\}//p' "$0" >&2
	exit 2
	;;
esac
