package app

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/tokiflow/tokiflow/infra/seal"
)

// Role is a part of the work. A process may do any of them.
type Role string

// The roles of a process.
const (
	RoleIngest   Role = "ingest"   // takes pings and samples
	RoleWrite    Role = "write"    // both from the log into the database
	RoleEvaluate Role = "evaluate" // judges monitors, and rules
	RoleAlert    Role = "alert"    // sends what must be said, and forwards series
	RoleRead     Role = "read"     // REST API, scrapes, PromQL
)

// AllRoles are the roles of a process that does everything.
func AllRoles() []Role { return []Role{RoleIngest, RoleWrite, RoleEvaluate, RoleAlert, RoleRead} }

// Options of a process. The names are those of the flags; defaults are the flags' own.
type Options struct {
	Listen  string
	BaseURL string // empty: http:// and the address listened on

	DataDir     string
	PostgresBin string
	DatabaseURL string // empty: an embedded PostgreSQL in DataDir

	Kafka         Kafka // without brokers the log is on disk, in DataDir
	LogPartitions int
	LogRetention  time.Duration

	Roles []Role

	PingBodyLimit   int
	PingRateLimit   int // a minute and key; 0: none
	TrustedProxies  []string
	BootstrapAPIKey string

	AlertWebhooks        []string
	AlertWebhookSecret   string
	AllowPrivateWebhooks bool

	Retention Retention
	Series    Series
	Alerting  Alerting

	// TuneMemory lets the process set the garbage collector's pace for all that runs in it.
	TuneMemory bool

	// Reload asks to read Alerting.ConfigFile again. Nil: it is read at the start only.
	Reload <-chan os.Signal

	Version string
	Logger  *slog.Logger
	// Announce is told, once, what a person needs to begin: the address, the organisation and, when it was made just
	// now, the API key. Nil: nobody is told.
	Announce func(Welcome)
}

// Kafka says which Kafka holds the log.
type Kafka struct {
	Brokers           []string
	Topic             string
	Partitions        int
	ReplicationFactor int
	TLS               bool
	TLSCA             string
	TLSCert           string
	TLSKey            string
	SASLMechanism     string
	SASLUsername      string
	SASLPassword      string
}

// Retention is how long history stays; 0: for ever.
type Retention struct {
	Pings   time.Duration
	History time.Duration // runs and transitions
	Samples time.Duration // what others wrote
}

// Series says what may be asked and written by Prometheus' protocols, an organisation at a time.
type Series struct {
	ScrapeMaxSeries int           // of one scrape; 0: no limit
	QueryTimeout    time.Duration // of one PromQL query
	QueryMaxSamples int           // in memory at once
	QueryMaxSeries  int           // of one query
	WriteRateLimit  int           // samples a second; 0: no limit
	WriteMaxSeries  int           // written to within an hour; 0: no limit

	SecretKey            string // seals the secrets of forwards and of alerting, 32 bytes in hexadecimal or base64; empty: one in DataDir
	AllowPrivateForwards bool
}

// Alerting says what routes alerts, and through what they can be sent.
type Alerting struct {
	CABundle   bool   // the environment has AWS_CA_BUNDLE
	ConfigFile string // Alertmanager's YAML for the organisation of a single-user install; empty: the API's

	SlackClientID       string // of the Slack app; empty: there is none
	SlackClientSecret   string
	SlackSigningSecret  string
	DiscordClientID     string // of the Discord application; empty: there is none
	DiscordClientSecret string

	SMTPURL         string // of the installation's mail server; empty: there is none
	SMTPFrom        string // address of the installation's mails
	ResendAPIKey    string // instead of SMTPURL
	TrustRecipients bool   // addresses of mails are not asked whether they want them

	StormGroups int           // first notifications of groups to a receiver in a minute that make a storm; 0: none do
	GuardHold   time.Duration // how long missed and late are held while the pings of the whole installation are away; negative: not
}

// Welcome is what a person needs to begin.
type Welcome struct {
	URL          string
	Organisation string
	ProjectKey   string // for slug URLs
	APIKey       string // empty: it exists already, and only its hash is kept
	FirstStart   bool
}

func (o *Options) has(r Role) bool { return slices.Contains(o.Roles, r) }

// consumes reports whether the process reads the log.
func (o *Options) consumes() bool { return o.has(RoleWrite) || o.has(RoleEvaluate) }

// appends reports whether the process writes to the log.
func (o *Options) appends() bool { return o.has(RoleIngest) || o.has(RoleRead) }

func (o *Options) validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if len(o.Roles) == 0 {
		o.Roles = AllRoles()
	}
	for _, r := range o.Roles {
		if !slices.Contains(AllRoles(), r) {
			bad("--role: %q is none: give any of ingest, write, evaluate, alert and read, separated by commas", r)
		}
	}
	if _, _, err := net.SplitHostPort(o.Listen); err != nil {
		bad("--listen %q: give HOST:PORT, as 127.0.0.1:8080 or :8080", o.Listen)
	}
	if o.BaseURL != "" {
		u, err := url.Parse(o.BaseURL)
		if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") || u.RawQuery != "" || u.Fragment != "" {
			bad("--base-url %q: give http:// or https://, a host and perhaps a path", o.BaseURL)
		}
		o.BaseURL = strings.TrimRight(o.BaseURL, "/")
	}
	local := o.DatabaseURL == "" || len(o.Kafka.Brokers) == 0
	if o.DataDir == "" && local {
		bad("--data-dir is empty: the log on disk and the embedded PostgreSQL need a folder")
	}
	if len(o.Kafka.Brokers) == 0 && len(o.Roles) < len(AllRoles()) && o.consumes() != o.appends() {
		o.Logger.Warn("the log on disk belongs to one process: the roles left out do not run anywhere", "roles", o.Roles)
	}
	if o.PingBodyLimit < 0 || o.PingRateLimit < 0 || o.LogRetention < 0 {
		bad("--ping-body-limit, --ping-rate-limit and --log-retention must not be negative")
	}
	if o.Series.SecretKey != "" {
		if _, err := seal.ParseKey(o.Series.SecretKey); err != nil {
			bad("--secret-key: %w", err)
		}
	}
	o.Alerting.validate(bad)
	return errors.Join(errs...)
}

func (o *Alerting) validate(bad func(format string, args ...any)) {
	together := func(what string, given ...string) bool {
		some := slices.ContainsFunc(given, func(s string) bool { return s != "" })
		if some && slices.Contains(given, "") {
			bad("%s: give all of them, or none", what)
		}
		return some
	}
	together("--slack-client-id, --slack-client-secret and --slack-signing-secret", o.SlackClientID, o.SlackClientSecret, o.SlackSigningSecret)
	together("--discord-client-id and --discord-client-secret", o.DiscordClientID, o.DiscordClientSecret)
	if o.SMTPURL != "" && o.ResendAPIKey != "" {
		bad("--smtp-url and --resend-api-key: give one of them")
	}
	if (o.SMTPURL != "" || o.ResendAPIKey != "") && o.SMTPFrom == "" {
		bad("--smtp-from: give the address that the mails of --smtp-url or --resend-api-key come from")
	}
}
