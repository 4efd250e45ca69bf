// The real Prometheus and promtool, for the tests: test/services/prometheus.sh builds them from here. A module of its own,
// so that the product's go.mod knows nothing of what only Prometheus' server needs. There is no Go file and no tool line in
// it: with either, go would want the sums of every service discovery, and one of those modules cannot be had. So do not
// run `go mod tidy` here. For another version: go get github.com/prometheus/prometheus@VERSION, then build both programs
// once with the script's tags and GOFLAGS=-mod=mod, which writes go.sum.
module github.com/tokiflow/tokiflow/test/prometheus

go 1.26.7

require github.com/prometheus/prometheus v0.316.0 // indirect
