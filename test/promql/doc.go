// Package promql runs Prometheus' own acceptance tests of PromQL against the stored samples. It is a module of its own, for what
// promqltest imports is heavy, and cannot be tidied in the module of the product.
package promql
