package app

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
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

	// TuneMemory lets the process set the garbage collector's pace for all that runs in it.
	TuneMemory bool

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

	SecretKey            string // seals the secrets of forwards, 32 bytes in hexadecimal or base64; empty: one in DataDir
	AllowPrivateForwards bool
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
	return errors.Join(errs...)
}
