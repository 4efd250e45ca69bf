#!/usr/bin/env bash
# Installs what the tests' real services need on Debian or Ubuntu. Quick and silent when all is there; without root it
# says what to ask for. Run it again whenever a test says that something is missing.
set -euo pipefail

missing=()
# need COMMAND PACKAGE: the package is wanted unless the command is found.
need() {
	command -v "$1" >/dev/null 2>&1 || missing+=("$2")
}

need git git
need make make
need curl curl
# The Kafka broker: Java to run it, Maven to fetch it from Maven Central.
need java default-jre-headless
need mvn maven
# PostgreSQL's server programs, which Debian keeps out of PATH.
compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || need initdb postgresql

if command -v java >/dev/null 2>&1; then
	version=$(java -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -n 1)
	if [ "${version:-0}" -lt 17 ]; then
		missing+=(openjdk-17-jre-headless)
	fi
fi

if [ "${#missing[@]}" -eq 0 ]; then
	exit 0
fi
if ! command -v apt-get >/dev/null 2>&1; then
	echo "setup: not a Debian system; please install by its own means: ${missing[*]}" >&2
	exit 1
fi
if [ "$(id -u)" -ne 0 ]; then
	echo "setup: please run as root: apt-get install ${missing[*]}" >&2
	exit 1
fi
echo "setup: installing ${missing[*]}" >&2
export DEBIAN_FRONTEND=noninteractive
# Debian's postgresql package would start a server of its own, which nobody here wants.
mkdir -p /etc/postgresql-common
[ -e /etc/postgresql-common/createcluster.conf ] || echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.conf
apt-get update -q >&2
apt-get install -q -y --no-install-recommends "${missing[@]}" >&2
