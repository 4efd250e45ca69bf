// Package samples keeps what others write to us: Prometheus series and their samples in the database. A Writer brings them there
// from the log, a Store is a Prometheus storage.Queryable of one organisation's, and an Upkeep packs what is finished and removes
// what is older than the retention.
package samples
