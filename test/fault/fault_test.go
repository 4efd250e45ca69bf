//go:build fault

package fault

import (
	"context"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tokiflow/tokiflow/app"
	"github.com/tokiflow/tokiflow/infra/pg"
	"github.com/tokiflow/tokiflow/infra/pg/pgtest"
	"github.com/tokiflow/tokiflow/test/services"
)

// TestKillTokiflow kills the process 20 times at random moments, with the log on disk and the embedded PostgreSQL.
func TestKillTokiflow(t *testing.T) {
	hook, w := listen(t)
	s := newServer(t, build(t), "--alert-webhook", hook)
	// The embedded PostgreSQL: it has to get over the end of its Tokiflow each time.
	was := disturbed(t, s, w, "", 20, func() {
		s.kill()
		time.Sleep(rand.N(1500 * time.Millisecond)) //nolint:gosec // a test
		s.start()
	})
	replayed(t, was, copyOfLog(t, s))
}

// TestKillPostgres kills PostgreSQL 10 times at random moments, under a Tokiflow that goes on taking pings.
func TestKillPostgres(t *testing.T) {
	cluster := pgtest.Server(t)
	hook, w := listen(t)
	s := newServer(t, build(t), "--database-url", cluster.URL("postgres"), "--alert-webhook", hook)
	was := disturbed(t, s, w, cluster.URL("postgres"), 10, func() {
		cluster.Kill()
		time.Sleep(rand.N(3 * time.Second)) //nolint:gosec // a test
		if err := cluster.Start(); err != nil {
			t.Fatal(err)
		}
	})
	replayed(t, was, copyOfLog(t, s))
}

// TestKillKafka kills the broker 10 times at random moments, and Tokiflow in between.
func TestKillKafka(t *testing.T) {
	cluster := pgtest.Server(t)
	hook, w := listen(t)
	broker := services.StartKafka(t, services.KafkaOptions{})
	s := newServer(t, build(t), "--database-url", cluster.URL("postgres"), "--alert-webhook", hook,
		"--kafka-brokers", broker.Addr, "--kafka-topic", "fault")
	n := 0
	was := disturbed(t, s, w, cluster.URL("postgres"), 10, func() {
		broker.Kill(t)
		time.Sleep(rand.N(3 * time.Second)) //nolint:gosec // a test
		broker.Restart(t)
		if n++; n%3 == 0 {
			s.kill()
			s.start()
		}
	})
	replayed(t, was, app.Options{DataDir: t.TempDir(), Kafka: app.Kafka{Brokers: []string{broker.Addr}, Topic: "fault"}})
}

// disturbed puts the fleet under load, breaks something many times, and verifies. It returns what came of it. An empty url
// stands for the server's embedded database.
func disturbed(t *testing.T, s *server, w *told, url string, times int, strike func()) aftermath {
	t.Helper()
	s.start()
	f := makeFleet(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	answered := &ids{}
	wg := pinging(ctx, t, s, f, answered)
	for n := range times {
		time.Sleep(time.Second + rand.N(3*time.Second)) //nolint:gosec // a test
		t.Logf("strike %d of %d", n+1, times)
		strike()
	}
	time.Sleep(5 * time.Second)
	cancel()
	wg.Wait()
	s.awaitReady(30 * time.Second)
	pauseAll(t, s, f)
	if url == "" {
		url = s.embeddedURL()
	}
	pool, err := pg.Open(t.Context(), url, pg.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	awaitQuiet(t, pool, f)
	verify(t, pool, f, answered, w)
	time.Sleep(6 * time.Second) // the idle checkpoint: all of the log is judged
	was := aftermath{outcome: outcome(t, pool), judged: settled(t, pool)}
	s.stop()
	return was
}

// copyOfLog is what a process needs to read the log that s has left.
func copyOfLog(t *testing.T, s *server) app.Options {
	t.Helper()
	folder := t.TempDir()
	copyDir(t, filepath.Join(s.dir, "log"), filepath.Join(folder, "log"))
	return app.Options{DataDir: folder, LogRetention: 24 * time.Hour}
}

// awaitQuiet waits until every change has been judged and told.
func awaitQuiet(t *testing.T, pool *pgxpool.Pool, f fleet) {
	t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for {
		waiting := count(t, pool, `select (select count(*) from deliveries where delivered_at is null) + (select count(*) from outbox where not fanned_out)`)
		paused := count(t, pool, `select count(*) from monitor_states where status = 'paused'`)
		if waiting == 0 && paused == len(f.all()) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after two minutes %d messages wait and %d of %d monitors are paused", waiting, paused, len(f.all()))
		}
		time.Sleep(200 * time.Millisecond)
	}
}
