package kafkalog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/segmentio/kafka-go"
)

// heartbeatInterval is how soon a member hears of a rebalance.
const heartbeatInterval = 500 * time.Millisecond

// protocolName names our way of sharing out partitions; all members of a group must speak it.
const protocolName = "tokiflow-sticky"

// member is this process's place in a consumer group. Unlike kafka-go's ConsumerGroup it keeps its id when the
// connection breaks, so that a restarted broker does not make the group wait for the session of its former self, and it
// lets partitions be read on while the group rebalances, since the consumers' commits are fenced by the database.
// Not safe for concurrent use.
type member struct {
	l       *Log
	group   string
	id      string // given by the coordinator; empty before the first join
	gen     int
	contact time.Time // when the coordinator last answered
}

// rejoin says that the member must join again.
var errRejoin = errors.New("the group rebalances")

// join enters the group, or follows it into its next generation, and returns the partitions assigned to this member.
// held is what it reads now.
func (m *member) join(ctx context.Context, held []int) ([]int, error) {
	session := m.l.o.SessionTimeout
	req := &kafka.JoinGroupRequest{
		GroupID: m.group, MemberID: m.id, SessionTimeout: session, RebalanceTimeout: session, ProtocolType: "consumer",
		Protocols: []kafka.GroupProtocol{{Name: protocolName, Metadata: kafka.GroupProtocolSubscription{
			Topics: []string{m.l.o.Topic}, OwnedPartitions: map[string][]int{m.l.o.Topic: held},
		}}},
	}
	// The coordinator answers when all members have joined or their time is up.
	ctx, cancel := context.WithTimeout(ctx, 2*session+5*time.Second)
	defer cancel()
	res, err := m.l.client.JoinGroup(ctx, req)
	if err == nil && errors.Is(res.Error, kafka.MemberIDRequired) {
		m.id, req.MemberID = res.MemberID, res.MemberID
		res, err = m.l.client.JoinGroup(ctx, req)
	}
	if err == nil {
		err = res.Error
	}
	if err != nil {
		return nil, m.judge(fmt.Errorf("joining group %s: %w", m.group, err))
	}
	m.id, m.gen, m.contact = res.MemberID, res.GenerationID, time.Now()
	return m.sync(ctx, res)
}

// sync hands in the assignment, if this member is the one to make it, and gets its own.
func (m *member) sync(ctx context.Context, joined *kafka.JoinGroupResponse) ([]int, error) {
	req := &kafka.SyncGroupRequest{
		GroupID: m.group, GenerationID: m.gen, MemberID: m.id, ProtocolType: "consumer", ProtocolName: protocolName,
	}
	if joined.LeaderID == m.id {
		held := map[string][]int{}
		for _, other := range joined.Members {
			held[other.ID] = other.Metadata.OwnedPartitions[m.l.o.Topic]
		}
		for id, partitions := range assign(m.l.topic.partitions, held) {
			req.Assignments = append(req.Assignments, kafka.SyncGroupRequestAssignment{
				MemberID:   id,
				Assignment: kafka.GroupProtocolAssignment{AssignedPartitions: map[string][]int{m.l.o.Topic: partitions}},
			})
		}
	}
	res, err := m.l.client.SyncGroup(ctx, req)
	if err == nil {
		err = res.Error
	}
	if err != nil {
		return nil, m.judge(fmt.Errorf("getting partitions in group %s: %w", m.group, err))
	}
	m.contact = time.Now()
	return res.Assignment.AssignedPartitions[m.l.o.Topic], nil
}

// heartbeat tells the coordinator that we are here. The error wraps errRejoin when that is what to do.
func (m *member) heartbeat(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, m.l.o.SessionTimeout/3)
	defer cancel()
	res, err := m.l.client.Heartbeat(ctx, &kafka.HeartbeatRequest{GroupID: m.group, GenerationID: int32(m.gen), MemberID: m.id})
	if err == nil {
		err = heartbeatError(res)
	}
	if err != nil {
		return m.judge(fmt.Errorf("heartbeat of group %s: %w", m.group, err))
	}
	m.contact = time.Now()
	return nil
}

// heartbeatError returns the error in the answer to a heartbeat. kafka-go v0.4.51 takes the two fields of the answer, four
// bytes of throttle time and two of error code, for two and four: the code is the low half of what it gives as the time.
// TestHeartbeatFields notices when that changes.
func heartbeatError(res *kafka.HeartbeatResponse) error {
	if code := int16(res.Throttle.Milliseconds() & 0xffff); code != 0 {
		return kafka.Error(code)
	}
	return nil
}

// judge notes what an error says of our membership.
func (m *member) judge(err error) error {
	switch {
	case errors.Is(err, kafka.UnknownMemberId), errors.Is(err, kafka.GroupIdNotFound):
		m.id = ""
		return fmt.Errorf("%w: %w", errRejoin, err)
	case errors.Is(err, kafka.RebalanceInProgress), errors.Is(err, kafka.IllegalGeneration):
		m.contact = time.Now()
		return fmt.Errorf("%w: %w", errRejoin, err)
	}
	return err
}

// silent reports that the coordinator has not answered for so long that it has given our partitions to others.
func (m *member) silent() bool {
	return !m.contact.IsZero() && time.Since(m.contact) > m.l.o.SessionTimeout*3/2
}

// leave tells the group, so that it need not wait for the session to end.
func (m *member) leave() error {
	if m.id == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	res, err := m.l.client.LeaveGroup(ctx, &kafka.LeaveGroupRequest{
		GroupID: m.group, Members: []kafka.LeaveGroupRequestMember{{ID: m.id}},
	})
	if err == nil {
		err = res.Error
	}
	if err != nil {
		return fmt.Errorf("leaving group %s: %w", m.group, err)
	}
	return nil
}
