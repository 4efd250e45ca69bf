package kafkalog

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/segmentio/kafka-go"
)

const (
	// topicMaxBytes is max.message.bytes of the topics made here: room for the largest append at once.
	topicMaxBytes = 16 << 20
	// brokerMaxBytes is what brokers take where nothing else is configured.
	brokerMaxBytes = 1 << 20
)

// topic is what Open learns of the topic.
type topic struct {
	clusterID  string
	partitions int
	maxBytes   int // of a batch
}

// findTopic makes sure that the topic exists, with a leader for each partition, and says what it is like. It tries until
// ctx ends, since a cluster that is just starting refuses for a while.
func (l *Log) findTopic(ctx context.Context) (topic, error) {
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		t, err := l.tryTopic(ctx)
		var fatal *optionError
		if err == nil || errors.As(err, &fatal) {
			return t, err
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return t, fmt.Errorf("kafka: topic %s at %v cannot be used: %w", l.o.Topic, l.o.Brokers, err)
		case <-timer.C:
		}
	}
}

// optionError is one that trying again does not mend.
type optionError struct{ error }

func (e *optionError) Unwrap() error { return e.error }

func (l *Log) tryTopic(ctx context.Context) (topic, error) {
	meta, err := l.describe(ctx)
	if errors.Is(err, kafka.UnknownTopicOrPartition) {
		if err := l.createTopic(ctx); err != nil {
			return topic{}, err
		}
		meta, err = l.describe(ctx)
	}
	if err != nil {
		return topic{}, err
	}
	n := len(meta.Topics[0].Partitions)
	if l.o.Partitions != 0 && l.o.Partitions != n {
		return topic{}, &optionError{fmt.Errorf("kafka: topic %s has %d partitions, not %d: a monitor's records would move",
			l.o.Topic, n, l.o.Partitions)}
	}
	if err := l.served(ctx, n); err != nil {
		return topic{}, err
	}
	maxBytes, err := l.maxBytes(ctx)
	return topic{clusterID: meta.ClusterID, partitions: n, maxBytes: maxBytes}, err
}

// describe returns the topic's metadata; an error unless every partition has a leader.
func (l *Log) describe(ctx context.Context) (*kafka.MetadataResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	meta, err := l.client.Metadata(ctx, &kafka.MetadataRequest{Topics: []string{l.o.Topic}})
	if err != nil {
		return nil, err
	}
	if len(meta.Topics) != 1 {
		return nil, fmt.Errorf("the brokers say nothing of topic %s", l.o.Topic)
	}
	if err := meta.Topics[0].Error; err != nil {
		return nil, err
	}
	for _, p := range meta.Topics[0].Partitions {
		if p.Leader.Host == "" {
			return nil, fmt.Errorf("partition %d of topic %s has no leader", p.ID, l.o.Topic)
		}
	}
	return meta, nil
}

// served makes sure that the leaders know that they lead: for a moment after a topic was made they do not.
func (l *Log) served(ctx context.Context, partitions int) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req := &kafka.ListOffsetsRequest{Topics: map[string][]kafka.OffsetRequest{}}
	for p := range partitions {
		req.Topics[l.o.Topic] = append(req.Topics[l.o.Topic], kafka.LastOffsetOf(p))
	}
	res, err := l.client.ListOffsets(ctx, req)
	if err != nil {
		return err
	}
	for _, p := range res.Topics[l.o.Topic] {
		if p.Error != nil {
			return fmt.Errorf("partition %d of topic %s: %w", p.Partition, l.o.Topic, p.Error)
		}
	}
	return nil
}

func (l *Log) createTopic(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	c := kafka.TopicConfig{
		Topic:             l.o.Topic,
		NumPartitions:     l.o.Partitions,
		ReplicationFactor: l.o.ReplicationFactor,
		ConfigEntries: []kafka.ConfigEntry{
			{ConfigName: "cleanup.policy", ConfigValue: "delete"},
			{ConfigName: "max.message.bytes", ConfigValue: strconv.Itoa(topicMaxBytes)},
			// A replica that is behind must not become the leader: it would lose what was answered for.
			{ConfigName: "unclean.leader.election.enable", ConfigValue: "false"},
		},
	}
	if c.NumPartitions == 0 {
		c.NumPartitions = defaultPartitions
	}
	if c.ReplicationFactor >= 3 {
		c.ConfigEntries = append(c.ConfigEntries, kafka.ConfigEntry{ConfigName: "min.insync.replicas", ConfigValue: "2"})
	}
	res, err := l.client.CreateTopics(ctx, &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{c}})
	if err == nil {
		err = res.Errors[l.o.Topic]
	}
	switch {
	case err == nil:
		l.log.InfoContext(ctx, "made the Kafka topic", "topic", c.Topic, "partitions", c.NumPartitions, "replication_factor", c.ReplicationFactor)
	case errors.Is(err, kafka.TopicAlreadyExists): // another process was quicker
	case errors.Is(err, kafka.InvalidReplicationFactor), errors.Is(err, kafka.TopicAuthorizationFailed), errors.Is(err, kafka.ClusterAuthorizationFailed):
		return &optionError{fmt.Errorf("kafka: making topic %s with replication factor %d: %w", c.Topic, c.ReplicationFactor, err)}
	default:
		return fmt.Errorf("making topic %s: %w", c.Topic, err)
	}
	return nil
}

// maxBytes is the largest batch the topic takes. Where we may not ask, it is Kafka's default.
func (l *Log) maxBytes(ctx context.Context) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	const key = "max.message.bytes"
	res, err := l.client.DescribeConfigs(ctx, &kafka.DescribeConfigsRequest{
		Resources: []kafka.DescribeConfigRequestResource{{
			ResourceType: kafka.ResourceTypeTopic, ResourceName: l.o.Topic, ConfigNames: []string{key},
		}},
	})
	if err != nil {
		return 0, fmt.Errorf("asking for the topic's configuration: %w", err)
	}
	for _, r := range res.Resources {
		for _, e := range r.ConfigEntries {
			if n, err := strconv.Atoi(e.ConfigValue); err == nil && e.ConfigName == key {
				return n, nil
			}
		}
	}
	return brokerMaxBytes, nil
}
