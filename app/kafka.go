package app

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/tokiflow/tokiflow/infra/eventlog/kafkalog"
)

func (k Kafka) options(log *slog.Logger) kafkalog.Options {
	o := kafkalog.Options{
		Brokers: k.Brokers, Topic: k.Topic, Partitions: k.Partitions, ReplicationFactor: k.ReplicationFactor, Logger: log,
	}
	if k.TLS || k.TLSCA != "" || k.TLSCert != "" {
		o.TLS = &kafkalog.TLS{CAFile: k.TLSCA, CertFile: k.TLSCert, KeyFile: k.TLSKey}
	}
	if k.SASLMechanism != "" {
		o.SASL = &kafkalog.SASL{Mechanism: k.SASLMechanism, User: k.SASLUsername, Password: k.SASLPassword}
	}
	return o
}

// openKafka waits for brokers that are not there yet, and says so: whoever starts both at once must not care for the order.
func openKafka(ctx context.Context, k Kafka, log *slog.Logger) (*kafkalog.Log, error) {
	slow := time.AfterFunc(2*time.Second, func() { log.Warn("waiting for the brokers", "brokers", k.Brokers, "topic", k.Topic) })
	defer slow.Stop()
	return kafkalog.Open(ctx, k.options(log))
}

func inspectKafka(ctx context.Context, k Kafka, log *slog.Logger) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	l, err := kafkalog.Open(ctx, k.options(log))
	if err != nil {
		return "", err
	}
	defer func() { _ = l.Close() }()
	return fmt.Sprintf("topic %s has %d partitions", k.Topic, l.Partitions()), nil
}
