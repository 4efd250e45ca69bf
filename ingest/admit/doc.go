// Package admit says which series and samples of others are taken: what labels and times may be, and how much of them an
// organisation may send. Remote write and the Pushgateway's API share it.
package admit
