package kafkalog

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/compress"
	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/segmentio/kafka-go/sasl/scram"

	"github.com/tokiflow/tokiflow/infra/eventlog"
)

// Options say which topic of which cluster the log is, and how to reach it.
type Options struct {
	Brokers []string // host:port, any of the cluster
	Topic   string
	// Partitions is the number for a topic that is made here, by default 8; a topic that exists must have just as many,
	// 0 takes what it has.
	Partitions int
	// ReplicationFactor for a topic that is made here, by default 1; -1 takes the brokers' default.
	ReplicationFactor int
	// Compression is none, lz4 (the default), zstd, snappy or gzip.
	Compression string
	TLS         *TLS
	SASL        *SASL
	ClientID    string // by default "tokiflow"
	MaxBatch    int    // records of a consumer's batch, by default eventlog.DefaultMaxBatch
	// SessionTimeout is how long a consumer may be silent before its partitions go to others, by default 10 s. Brokers
	// refuse less than 6 s unless configured otherwise.
	SessionTimeout time.Duration
	Logger         *slog.Logger
}

// TLS is how connections are secured. The zero value trusts the system's authorities.
type TLS struct {
	CAFile             string // PEM
	CertFile, KeyFile  string // PEM, for brokers that ask for a certificate
	InsecureSkipVerify bool   // takes any certificate: for tests only
}

// SASL is who we are.
type SASL struct {
	Mechanism string // PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512
	User      string
	Password  string
}

const (
	defaultPartitions     = 8
	defaultSessionTimeout = 10 * time.Second
)

func (o *Options) validate() error {
	if len(o.Brokers) == 0 {
		return errors.New("no Kafka broker given: set host:port of one or more")
	}
	if o.Topic == "" {
		return errors.New("no Kafka topic given")
	}
	if o.Partitions < 0 {
		return fmt.Errorf("%d partitions for topic %s: give 1 or more", o.Partitions, o.Topic)
	}
	if o.ReplicationFactor == 0 {
		o.ReplicationFactor = 1
	}
	if o.Compression == "" {
		o.Compression = "lz4"
	}
	if o.ClientID == "" {
		o.ClientID = "tokiflow"
	}
	if o.MaxBatch <= 0 {
		o.MaxBatch = eventlog.DefaultMaxBatch
	}
	if o.SessionTimeout <= 0 {
		o.SessionTimeout = defaultSessionTimeout
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}

func (o *Options) compression() (compress.Compression, error) {
	var c compress.Compression
	if err := c.UnmarshalText([]byte(o.Compression)); err != nil {
		return 0, fmt.Errorf("kafka: %w", err)
	}
	return c, nil
}

// transport makes the pool of connections.
func (o *Options) transport() (*kafka.Transport, error) {
	t := &kafka.Transport{
		ClientID:       o.ClientID,
		MetadataTopics: []string{o.Topic},
		// A partition that moves to another broker is found again within this.
		MetadataTTL: time.Second,
		DialTimeout: 5 * time.Second,
		IdleTimeout: time.Minute,
	}
	var err error
	if o.TLS != nil {
		if t.TLS, err = o.TLS.config(); err != nil {
			return nil, err
		}
	}
	if o.SASL != nil {
		if t.SASL, err = o.SASL.mechanism(); err != nil {
			return nil, err
		}
	}
	return t, nil
}

func (t *TLS) config() (*tls.Config, error) {
	c := &tls.Config{
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: t.InsecureSkipVerify, //nolint:gosec // the operator's own wish, off by default
	}
	if t.CAFile != "" {
		pem, err := os.ReadFile(t.CAFile)
		if err != nil {
			return nil, fmt.Errorf("kafka: reading the certificate authority: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("kafka: no PEM certificate in %s", t.CAFile)
		}
	}
	if t.CertFile != "" || t.KeyFile != "" {
		cert, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("kafka: the client's certificate (%s) and key (%s): %w", t.CertFile, t.KeyFile, err)
		}
		c.Certificates = []tls.Certificate{cert}
	}
	return c, nil
}

func (s *SASL) mechanism() (sasl.Mechanism, error) {
	switch strings.ToUpper(s.Mechanism) {
	case "PLAIN":
		return plain.Mechanism{Username: s.User, Password: s.Password}, nil
	case "SCRAM-SHA-256":
		return scram.Mechanism(scram.SHA256, s.User, s.Password)
	case "SCRAM-SHA-512":
		return scram.Mechanism(scram.SHA512, s.User, s.Password)
	}
	return nil, fmt.Errorf("kafka: unknown SASL mechanism %q: give PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512", s.Mechanism)
}
