package main

import (
	"context"
	"errors"
	"io"
	"log/slog"

	"github.com/alecthomas/kong"
	"github.com/prometheus/common/model"
)

// groups are the headings under which serve's options are listed.
func groups() []kong.Group {
	return []kong.Group{
		{Key: "http", Title: "Listening:"},
		{Key: "database", Title: "Database:"},
		{Key: "log", Title: "Log on disk:"},
		{Key: "kafka", Title: "Log on Kafka:"},
		{Key: "ping", Title: "Pings:"},
		{Key: "alert", Title: "Alerts:"},
		{Key: "process", Title: "Process:"},
	}
}

// loggingFlags are the options of every command that runs long.
type loggingFlags struct {
	LogFormat string `enum:"text,json" default:"text" placeholder:"FORMAT" help:"Form of the log on stderr: text or json." group:"process"`
	LogLevel  string `enum:"debug,info,warn,error" default:"info" placeholder:"LEVEL" help:"Least level that is logged: debug, info, warn or error." group:"process"`
}

// logger writes to w as the options say.
func (f loggingFlags) logger(w io.Writer) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(f.LogLevel)) // the parser has taken only names that fit
	o := &slog.HandlerOptions{Level: level}
	if f.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}

// databaseFlags say which PostgreSQL to use.
type databaseFlags struct {
	DataDir     string `default:"./data" placeholder:"DIR" help:"Folder for everything that the process keeps: the log on disk, the embedded PostgreSQL." group:"database"`
	DatabaseURL string `secret:"" placeholder:"URL" help:"PostgreSQL 15 or newer to use, as postgres://user:password@host/database. Without it the process runs a private one in the data folder." group:"database"`
	PostgresBin string `placeholder:"DIR" help:"Folder with initdb and postgres for the embedded PostgreSQL. Without it PATH and the usual folders are searched, then it is downloaded." group:"database"`
}

// kafkaFlags say which Kafka holds the log.
type kafkaFlags struct {
	KafkaBrokers           []string `placeholder:"HOST:PORT" help:"Brokers to keep the log on, separated by commas. Without them the log is on disk, in the data folder." group:"kafka"`
	KafkaTopic             string   `default:"tokiflow.pings" placeholder:"NAME" help:"Topic of the log; it is made where it does not exist." group:"kafka"`
	KafkaPartitions        int      `default:"12" placeholder:"N" help:"Partitions of the topic when it is made. The number of a topic that holds pings must never change." group:"kafka"`
	KafkaReplicationFactor int      `default:"-1" placeholder:"N" help:"Copies of the topic when it is made; -1: the brokers' own default." group:"kafka"`
	KafkaTLS               bool     `help:"Speak TLS with the brokers." group:"kafka"`
	KafkaTLSCA             string   `name:"kafka-tls-ca" placeholder:"FILE" help:"Certificates (PEM) that may sign the brokers'. Without it the system's count." group:"kafka"`
	KafkaTLSCert           string   `name:"kafka-tls-cert" placeholder:"FILE" help:"Our certificate (PEM), where the brokers ask for one." group:"kafka"`
	KafkaTLSKey            string   `name:"kafka-tls-key" placeholder:"FILE" help:"Key (PEM) of our certificate." group:"kafka"`
	KafkaSASLMechanism     string   `name:"kafka-sasl-mechanism" enum:",plain,scram-sha-256,scram-sha-512" default:"" placeholder:"NAME" help:"How to log in at the brokers: plain, scram-sha-256 or scram-sha-512. Without it there is no login." group:"kafka"`
	KafkaSASLUsername      string   `name:"kafka-sasl-username" placeholder:"NAME" help:"User at the brokers." group:"kafka"`
	KafkaSASLPassword      string   `name:"kafka-sasl-password" secret:"" placeholder:"PASSWORD" help:"Password at the brokers." group:"kafka"`
}

type serveCmd struct {
	Listen  string `default:"127.0.0.1:8080" placeholder:"HOST:PORT" help:"Address to listen on; an empty host is every address, port 0 any free one." group:"http"`
	BaseURL string `placeholder:"URL" help:"Address under which clients reach the server; it stands in the ping URLs. Without it: http:// and the address listened on." group:"http"`

	databaseFlags `embed:""`

	LogPartitions int            `default:"4" placeholder:"N" help:"Partitions of the log on disk when it is made." group:"log"`
	LogRetention  model.Duration `default:"1d" placeholder:"DURATION" help:"How long records stay in the log on disk after every consumer has read them." group:"log"`

	kafkaFlags `embed:""`

	PingBodyLimit   int64  `default:"100000" placeholder:"BYTES" help:"How many bytes of a ping's body are kept." group:"ping"`
	PingRateLimit   int    `default:"60" placeholder:"N" help:"Pings a minute and ping key; 0: no limit." group:"ping"`
	BootstrapAPIKey string `name:"bootstrap-api-key" secret:"" placeholder:"KEY" help:"API key that is to exist from the first start on. Without it one is made and printed once." group:"ping"`

	AlertWebhook         []string `placeholder:"URL" help:"Where each opened and resolved incident is posted. May be given several times." group:"alert"`
	AlertWebhookSecret   string   `secret:"" placeholder:"SECRET" help:"Key that signs the webhooks (Standard Webhooks), as whsec_ and base64." group:"alert"`
	AllowPrivateWebhooks bool     `help:"Let webhooks go to addresses of this machine and of private networks." group:"alert"`

	RetentionPings       model.Duration `default:"0s" placeholder:"DURATION" help:"How long pings stay in the database; 0s: for ever." group:"database"`
	RetentionRuns        model.Duration `default:"0s" placeholder:"DURATION" help:"How long runs stay in the database; 0s: for ever." group:"database"`
	RetentionTransitions model.Duration `default:"0s" placeholder:"DURATION" help:"How long status changes stay in the database; 0s: for ever." group:"database"`

	Role []string `enum:"ingest,write,evaluate,alert,read" default:"ingest,write,evaluate,alert,read" placeholder:"ROLE" help:"What this process does, separated by commas: ingest (takes pings), write (pings into the database), evaluate (judges monitors), alert (sends webhooks), read (REST API)." group:"process"`

	loggingFlags `embed:""`
}

// Help is shown by serve --help.
func (serveCmd) Help() string {
	return `Without options the server needs nothing else on the machine: its log and its PostgreSQL live in the data folder.

Examples:

    tokiflow serve
    tokiflow serve --listen :8080 --base-url https://ping.example.org
    tokiflow serve --alert-webhook https://example.org/hook --alert-webhook-secret whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw
    DATABASE_URL=postgres://tokiflow@db/tokiflow KAFKA_BROKERS=k1:9092,k2:9092 tokiflow serve --role ingest`
}

// Run runs until a signal.
func (s *serveCmd) Run(ctx context.Context, e environment) error {
	_, stop := untilSignal(ctx)
	defer stop()
	_ = s.logger(e.stderr)
	return errors.New("serve: not wired yet")
}
