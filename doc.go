// Package tokiflow is the root of the module and holds no code: Tokiflow watches jobs that must run, and tells people
// when they do not. The program is cmd/tokiflow. Each folder, one line:
//
//	cmd            the program: flags, environment, signals, subcommands
//	app            wiring of one process from its options; roles; shutdown
//	ingest         the ping endpoints: from HTTP to a durable record
//	evaluator      reads the log, judges monitors, opens and resolves incidents
//	alerting       carries each incident from the outbox to its receivers
//	exporter       an organisation's monitors for Prometheus to scrape
//	promapi        PromQL over the whole history, and remote read
//	rules          recording and alerting rules, evaluated on the log's clock
//	forward        sends the monitors' series on to other systems
//	api            the REST API and its OpenAPI document
//	saas           who a request acts for: API keys and their scopes
//	tsdb           time-series SQL: pings, statistics, timelines, samples
//	core           pure rules and nouns: no I/O, no clock, no logger
//	infra          PostgreSQL, relational SQL, the log on disk or on Kafka
//	client         a small ping client that retries, used by ping, exec and bench
//	loadgen        the load generator behind bench
//	grafana-plugin (to come) the Grafana app with its data source
//	dashboards     dashboards for Grafana
//	deploy         how to install it: systemd
//	docs           the pages for users, the architecture, the decisions
//	test           services for the tests, tests of the whole program
//	tools          the tools of the build, in a module of their own
//
// Imports point downwards only; architecture_test.go holds the table. The promises and the reasons are in
// docs/architecture.md.
package tokiflow
