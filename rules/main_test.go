package rules_test

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, // the test process' own PostgreSQL runs to its end
		goleak.IgnoreAnyFunction("github.com/tokiflow/tokiflow/infra/pg/pgtest.(*Cluster).Start.func1"),
		goleak.IgnoreAnyFunction("github.com/tokiflow/tokiflow/infra/pg/pgtest.(*Cluster).startWatchdog.func1"))
}
