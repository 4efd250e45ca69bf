package memlog

import (
	"errors"
	"testing"

	"go.uber.org/goleak"

	"github.com/tokiflow/tokiflow/infra/eventlog"
	"github.com/tokiflow/tokiflow/infra/eventlog/logtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	logtest.Run(t, logtest.Kind{
		New: func(_ testing.TB, partitions int) logtest.Topic {
			return logtest.Topic{Open: func(testing.TB) eventlog.Log { return New(partitions, nil) }}
		},
	})
}

func TestFail(t *testing.T) {
	l := New(1, nil)
	broken := errors.New("as the test wants")
	l.Fail(broken)
	if _, err := l.AppendBatch(t.Context(), 0, [][]byte{{1}}); !errors.Is(err, broken) {
		t.Errorf("AppendBatch: %v", err)
	}
	l.Fail(nil)
	if first, err := l.AppendBatch(t.Context(), 0, [][]byte{{1}}); err != nil || first != 0 {
		t.Errorf("AppendBatch: %d, %v", first, err)
	}
}
