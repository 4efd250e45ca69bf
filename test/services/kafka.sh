#!/usr/bin/env bash
# A real Kafka broker for the tests: one node, KRaft, on this machine only.
#
#   kafka.sh install        fetch the broker into the cache (needs java and mvn; see setup.sh)
#   kafka.sh start [DIR]    start a broker with its data in DIR (default: a new temporary folder) and print how to reach
#                           it; a DIR of before is started again with its data and its port
#   kafka.sh env DIR        print that again
#   kafka.sh stop DIR       stop it cleanly
#   kafka.sh kill DIR       kill -9
#   kafka.sh remove DIR     kill it and delete its data
#
# Variables: KAFKA_PORT (default: a free one), KAFKA_HEAP (default 384m), KAFKA_EXTRA (a file of further broker properties
# for a new DIR; @PORT2@ in it is a second free port), KAFKA_SCRAM (user:password for SCRAM in a new DIR), KAFKA_PARENT (a
# process id: when it ends, a broker made for it is removed).
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/tokiflow
version=$(sed -n 's:.*<kafka.version>\(.*\)</kafka.version>.*:\1:p' "$here/kafka/pom.xml")
jars=$cache/kafka-$version

die() {
	echo "kafka.sh: $*" >&2
	exit 1
}

install_kafka() {
	[ -e "$jars/complete" ] && return
	command -v java >/dev/null || die "java is missing: run test/services/setup.sh"
	command -v mvn >/dev/null || die "mvn is missing: run test/services/setup.sh"
	mkdir -p "$cache"
	# One process at a time; the others find it done.
	exec 9>"$cache/kafka.lock"
	flock 9
	[ -e "$jars/complete" ] && return
	rm -rf "$jars.new"
	mvn -q -B -Dstyle.color=never -Duser.home="$HOME" -f "$here/kafka/pom.xml" \
		org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
		-DincludeScope=runtime -DoutputDirectory="$jars.new" >&2 || die "mvn could not fetch Kafka $version"
	touch "$jars.new/complete"
	rm -rf "$jars"
	mv "$jars.new" "$jars"
	exec 9>&-
}

# free_port prints a port that nobody listens on, below those that clients get.
free_port() {
	local port
	for _ in $(seq 100); do
		port=$((20000 + RANDOM % 12000))
		if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
			echo "$port"
			return
		fi
	done
	die "no free port found"
}

# java_kafka replaces the shell by a program of Kafka's; the words in $launcher stand before it.
java_kafka() {
	exec ${launcher:-} java -Xms64m "-Xmx${KAFKA_HEAP:-384m}" -XX:+ExitOnOutOfMemoryError \
		-Dlog4j2.configurationFile="$here/kafka/log4j2.properties" -cp "$jars/*" "$@"
}

configure() {
	local dir=$1 port controller port2
	port=${KAFKA_PORT:-$(free_port)}
	controller=$(free_port)
	port2=$(free_port)
	mkdir -p "$dir"
	sed -e "s|@PORT@|$port|g; s|@CONTROLLER@|$controller|g; s|@DIR@|$dir|g" "$here/kafka/server.properties" >"$dir/server.properties"
	if [ -n "${KAFKA_EXTRA:-}" ]; then
		sed -e "s|@PORT@|$port|g; s|@CONTROLLER@|$controller|g; s|@PORT2@|$port2|g; s|@DIR@|$dir|g" "$KAFKA_EXTRA" >>"$dir/server.properties"
	fi
	printf 'TOKIFLOW_TEST_KAFKA=127.0.0.1:%s\nTOKIFLOW_TEST_KAFKA_DIR=%s\nTOKIFLOW_TEST_KAFKA_PORT2=%s\n' "$port" "$dir" "$port2" >"$dir/env"
	local scram=()
	if [ -n "${KAFKA_SCRAM:-}" ]; then
		for mechanism in SCRAM-SHA-256 SCRAM-SHA-512; do
			scram+=(--add-scram "$mechanism=[name=${KAFKA_SCRAM%%:*},password=${KAFKA_SCRAM#*:}]")
		done
	fi
	(java_kafka kafka.tools.StorageTool format -t "$(head -c 16 /dev/urandom | base64 | tr '+/' 'AB' | tr -d '=')" \
		-c "$dir/server.properties" "${scram[@]}") >"$dir/format.log" 2>&1 || { cat "$dir/format.log" >&2; die "formatting $dir failed"; }
}

running() { [ -e "$1/pid" ] && kill -0 "$(cat "$1/pid")" 2>/dev/null; }

# watch removes a broker when the process it was made for is gone, however that ended.
watch() {
	while kill -0 "$1" 2>/dev/null; do
		sleep 1
	done
	stop "$2" KILL
	rm -rf "$2"
}

start() {
	local dir=${1:-}
	install_kafka
	[ -n "$dir" ] || dir=$(mktemp -d "${TMPDIR:-/tmp}/tokiflow-kafka.XXXXXX")
	mkdir -p "$dir"
	dir=$(cd "$dir" && pwd)
	if [ ! -e "$dir/env" ]; then
		configure "$dir"
		if [ -n "${KAFKA_PARENT:-}" ]; then
			watch "$KAFKA_PARENT" "$dir" </dev/null >/dev/null 2>&1 &
		fi
	fi
	if ! running "$dir"; then
		: >"$dir/broker.log"
		# Of its own session, so that a Ctrl-C at the tests does not reach it before they stop it.
		(launcher=setsid java_kafka kafka.Kafka "$dir/server.properties") </dev/null >"$dir/broker.log" 2>&1 &
		echo $! >"$dir/pid"
		for _ in $(seq 600); do
			grep -q 'Kafka Server started' "$dir/broker.log" && break
			running "$dir" || { tail -n 20 "$dir/broker.log" >&2; die "the broker did not start; its log is $dir/broker.log"; }
			sleep 0.1
		done
		grep -q 'Kafka Server started' "$dir/broker.log" || die "the broker is not ready after a minute; its log is $dir/broker.log"
	fi
	cat "$dir/env"
}

stop() {
	local dir=$1 signal=$2
	if running "$dir"; then
		kill "-$signal" "$(cat "$dir/pid")"
		for _ in $(seq 300); do
			running "$dir" || break
			sleep 0.1
		done
		running "$dir" && kill -KILL "$(cat "$dir/pid")"
	fi
	rm -f "$dir/pid"
}

dir_of() { [ -n "${1:-}" ] && [ -e "$1/env" ] || die "no broker in '${1:-}'"; }

case "${1:-}" in
install) install_kafka ;;
start) start "${2:-}" ;;
env) dir_of "${2:-}" && cat "$2/env" ;;
stop) dir_of "${2:-}" && stop "$2" TERM ;;
kill) dir_of "${2:-}" && stop "$2" KILL ;;
remove) dir_of "${2:-}" && stop "$2" KILL && rm -rf "$2" ;;
*)
	sed -n '2,17s/^# \{0,1\}//p' "$0" >&2
	exit 2
	;;
esac
