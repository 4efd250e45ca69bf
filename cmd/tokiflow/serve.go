package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
	"github.com/prometheus/common/model"

	"github.com/tokiflow/tokiflow/app"
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
		{Key: "series", Title: "Prometheus:"},
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
	KafkaTopic             string   `default:"tokiflow.pings" placeholder:"NAME" help:"Topic of the log of pings; that of the log of samples has -samples behind it. Both are made where they do not exist." group:"kafka"`
	KafkaPartitions        int      `default:"0" placeholder:"N" help:"Partitions of each topic; 0: what it has, or 8 where it is made. The number of a topic that holds pings or samples must never change." group:"kafka"`
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

	LogPartitions int            `default:"1" placeholder:"N" help:"Partitions of the log on disk when it is made." group:"log"`
	LogRetention  model.Duration `default:"1d" placeholder:"DURATION" help:"How long records stay in the log on disk after every consumer has read them." group:"log"`

	kafkaFlags `embed:""`

	PingBodyLimit   int      `default:"100000" placeholder:"BYTES" help:"How many bytes of a ping's body are kept." group:"ping"`
	PingRateLimit   int      `default:"60" placeholder:"N" help:"Pings a minute and ping key; 0: no limit." group:"ping"`
	TrustedProxies  []string `placeholder:"NETWORK" help:"Networks (CIDR) whose X-Forwarded-For is believed when the address of a client is noted." group:"ping"`
	BootstrapAPIKey string   `name:"bootstrap-api-key" secret:"" placeholder:"KEY" help:"API key that is to exist from the first start on. Without it one is made and printed once." group:"ping"`

	AlertWebhook         []string `placeholder:"URL" help:"Where each opened and resolved incident is posted. May be given several times, or several separated by commas (write a comma within a URL as %2C)." group:"alert"`
	AlertWebhookSecret   string   `secret:"" placeholder:"SECRET" help:"Key that signs the webhooks (Standard Webhooks), as whsec_ and base64." group:"alert"`
	AllowPrivateWebhooks bool     `help:"Let webhooks go to addresses of this machine and of private networks." group:"alert"`

	AlertmanagerConfig  string         `type:"path" placeholder:"FILE" help:"Alertmanager's configuration for a single-user install, read at the start and on SIGHUP. It may name files. Without it each organisation's is put by the API." group:"alert"`
	SlackClientID       string         `name:"slack-client-id" placeholder:"ID" help:"Client ID of the Slack app. Without it alerts reach Slack by incoming webhooks only." group:"alert"`
	SlackClientSecret   string         `secret:"" placeholder:"SECRET" help:"Client secret of the Slack app." group:"alert"`
	SlackSigningSecret  string         `secret:"" placeholder:"SECRET" help:"Signing secret of the Slack app: requests of Slack are believed because of it." group:"alert"`
	DiscordClientID     string         `name:"discord-client-id" placeholder:"ID" help:"Client ID of the Discord application by which channels are connected." group:"alert"`
	DiscordClientSecret string         `secret:"" placeholder:"SECRET" help:"Client secret of the Discord application." group:"alert"`
	SMTPURL             string         `name:"smtp-url" secret:"" placeholder:"URL" help:"Mail server of the installation, as smtp://user:password@host:587 (STARTTLS) or smtps://user:password@host:465." group:"alert"`
	SMTPFrom            string         `name:"smtp-from" placeholder:"ADDRESS" help:"Address that the installation's mails come from, as Tokiflow <alerts@example.org>." group:"alert"`
	ResendAPIKey        string         `name:"resend-api-key" secret:"" placeholder:"KEY" help:"API key of Resend, to send the installation's mails by it." group:"alert"`
	TrustRecipients     bool           `help:"Send alert mails without asking each address first whether it wants them." group:"alert"`
	StormGroups         int            `default:"20" placeholder:"N" help:"Groups first told to one receiver within a minute; what is beyond becomes one message that lists all. 0: no limit." group:"alert"`
	GuardHold           model.Duration `default:"15m" placeholder:"DURATION" help:"How long missed and late monitors are held back while the pings of the whole installation stay far below what is usual. 0s: not at all." group:"alert"`

	ScrapeMaxSeries    int            `default:"1000000" placeholder:"N" help:"Series of an organisation's scrape; beyond it monitors are left out, and the scrape says how many. 0: no limit." group:"series"`
	QueryTimeout       model.Duration `default:"2m" placeholder:"DURATION" help:"How long a PromQL query may take." group:"series"`
	QueryMaxSamples    int            `default:"50000000" placeholder:"N" help:"Samples that a PromQL query may hold in memory at once." group:"series"`
	QueryMaxSeries     int            `default:"100000" placeholder:"N" help:"Series that a PromQL query may read." group:"series"`
	WriteRateLimit     int            `default:"0" placeholder:"N" help:"Samples a second that an organisation may write; 0: no limit." group:"series"`
	WriteMaxSeries     int            `default:"0" placeholder:"N" help:"Series that an organisation may have written to within an hour; 0: no limit." group:"series"`
	SecretKey          string         `secret:"" placeholder:"KEY" help:"Key under which the secrets of customers (of forwards and of alerting) are kept in the database, 32 bytes in hexadecimal or base64: openssl rand -hex 32 makes one. Without it one is made in the data folder; processes that share a database must share the key." group:"database"`
	AllowPrivateTarget bool           `name:"allow-private-forwards" help:"Let forwards go to addresses of this machine and of private networks." group:"series"`

	RetentionPings   model.Duration `default:"90d" placeholder:"DURATION" help:"How long pings stay in the database, at least 1d; 0s: for ever." group:"database"`
	RetentionHistory model.Duration `default:"400d" placeholder:"DURATION" help:"How long runs and status changes stay in the database, at least 32d; 0s: for ever." group:"database"`

	RetentionSamples model.Duration `default:"90d" placeholder:"DURATION" help:"How long samples written by others stay in the database, at least 1d; 0s: for ever." group:"database"`

	Role []string `enum:"ingest,write,evaluate,alert,read" default:"ingest,write,evaluate,alert,read" placeholder:"ROLE" help:"What this process does, separated by commas: ingest (takes pings and samples), write (both into the database), evaluate (judges monitors and rules), alert (sends webhooks, forwards series), read (REST API, scrapes, PromQL)." group:"process"`

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
	ctx, stop := untilSignal(ctx)
	defer stop()
	o := s.options(s.logger(e.stderr))
	o.Alerting.CABundle = e.isSet("AWS_CA_BUNDLE")
	if s.AlertmanagerConfig != "" { // else a hang-up ends the process, as it does others
		reload := make(chan os.Signal, 1)
		signal.Notify(reload, syscall.SIGHUP)
		defer signal.Stop(reload)
		o.Reload = reload
	}
	o.TuneMemory = !e.isSet("GOGC") && !e.isSet("GOMEMLIMIT") // whoever sets these knows better
	o.Announce = func(w app.Welcome) { welcome(e.stdout, w, s.BootstrapAPIKey != "") }
	return app.Run(ctx, o)
}

// isSet reports whether an environment variable has a value.
func (e environment) isSet(name string) bool {
	v, _ := e.lookup(name)
	return v != ""
}

// options are the flags as package app knows them.
func (s *serveCmd) options(logger *slog.Logger) app.Options {
	o := app.Options{
		Listen: s.Listen, BaseURL: s.BaseURL,
		LogPartitions: s.LogPartitions, LogRetention: time.Duration(s.LogRetention),
		PingBodyLimit: s.PingBodyLimit, PingRateLimit: s.PingRateLimit, TrustedProxies: s.TrustedProxies,
		BootstrapAPIKey: s.BootstrapAPIKey, AlertWebhooks: s.AlertWebhook, AlertWebhookSecret: s.AlertWebhookSecret,
		AllowPrivateWebhooks: s.AllowPrivateWebhooks,
		Retention: app.Retention{
			Pings: time.Duration(s.RetentionPings), History: time.Duration(s.RetentionHistory), Samples: time.Duration(s.RetentionSamples),
		},
		Series: app.Series{
			ScrapeMaxSeries: s.ScrapeMaxSeries, QueryTimeout: time.Duration(s.QueryTimeout), QueryMaxSamples: s.QueryMaxSamples,
			QueryMaxSeries: s.QueryMaxSeries, WriteRateLimit: s.WriteRateLimit, WriteMaxSeries: s.WriteMaxSeries,
			SecretKey: s.SecretKey, AllowPrivateForwards: s.AllowPrivateTarget,
		},
		Alerting: s.alerting(),
		Version:  version(), Logger: logger,
	}
	for _, r := range s.Role {
		o.Roles = append(o.Roles, app.Role(r))
	}
	s.databaseFlags.fill(&o)
	s.kafkaFlags.fill(&o)
	return o
}

func (s *serveCmd) alerting() app.Alerting {
	a := app.Alerting{
		ConfigFile: s.AlertmanagerConfig, SlackClientID: s.SlackClientID, SlackClientSecret: s.SlackClientSecret,
		SlackSigningSecret: s.SlackSigningSecret, DiscordClientID: s.DiscordClientID, DiscordClientSecret: s.DiscordClientSecret,
		SMTPURL: s.SMTPURL, SMTPFrom: s.SMTPFrom, ResendAPIKey: s.ResendAPIKey, TrustRecipients: s.TrustRecipients,
		StormGroups: s.StormGroups, GuardHold: time.Duration(s.GuardHold),
	}
	if a.GuardHold == 0 {
		a.GuardHold = -1
	}
	return a
}

func (f databaseFlags) fill(o *app.Options) {
	o.DataDir, o.DatabaseURL, o.PostgresBin = f.DataDir, f.DatabaseURL, f.PostgresBin
}

func (f kafkaFlags) fill(o *app.Options) {
	o.Kafka = app.Kafka{
		Brokers: f.KafkaBrokers, Topic: f.KafkaTopic, Partitions: f.KafkaPartitions, ReplicationFactor: f.KafkaReplicationFactor,
		TLS: f.KafkaTLS, TLSCA: f.KafkaTLSCA, TLSCert: f.KafkaTLSCert, TLSKey: f.KafkaTLSKey,
		SASLMechanism: f.KafkaSASLMechanism, SASLUsername: f.KafkaSASLUsername, SASLPassword: f.KafkaSASLPassword,
	}
}

// welcome tells a person how to begin: with a line that can be pasted and, where it was made just now, the API key. A key
// that somebody has given is known to them, and is not printed.
func welcome(out io.Writer, w app.Welcome, keyGiven bool) {
	text := fmt.Sprintf("\nTokiflow is ready at %s\n\n  organisation  %s\n", w.URL, w.Organisation)
	if w.APIKey != "" && !keyGiven {
		text += fmt.Sprintf(`  API key       %[2]s
                Keep it: only its hash is stored, and it is not shown again.

Make a monitor that expects a ping every hour:

  curl -sS %[1]s/api/v1/monitors -H 'Authorization: Bearer %[2]s' \
    -H 'Content-Type: application/json' -d '{"name":"backup","schedule":{"interval":"1h"},"grace":"5m"}'

Its answer holds a ping_url: let your job request it when it is done.
`, w.URL, w.APIKey)
	}
	text += fmt.Sprintf("\nA ping to a slug can make its monitor, with an interval of a day and an hour of grace:\n\n  curl -sS '%s/ping/%s/my-job?create=1'\n\n", w.URL, w.ProjectKey)
	_, _ = io.WriteString(out, text)
}
