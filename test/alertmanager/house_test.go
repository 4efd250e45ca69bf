package alertmanager_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/tokiflow/tokiflow/infra/pg/pgtest"
)

// clusters are the databases that the adapters of a test use, each with its members.
type clusters struct {
	t testing.TB

	mu      sync.Mutex
	of      map[string]string   // database by member
	members map[string][]string // by database
}

// startHouse serves databases to adapters until the test ends.
func startHouse(t testing.TB) string {
	t.Helper()
	pgtest.NewURL(t) // makes the template, before somebody is in a hurry
	c := &clusters{t: t, of: map[string]string{}, members: map[string][]string{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /join", c.join)
	mux.HandleFunc("GET /members", c.list)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.URL
}

func (c *clusters) join(w http.ResponseWriter, r *http.Request) {
	addr, peer := r.URL.Query().Get("addr"), r.URL.Query().Get("peer")
	c.mu.Lock()
	defer c.mu.Unlock()
	database, ok := c.of[peer]
	if !ok {
		database = pgtest.NewURL(c.t)
	}
	c.of[addr] = database
	c.members[database] = append(c.members[database], addr)
	_, _ = io.WriteString(w, database)
}

func (c *clusters) list(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = json.NewEncoder(w).Encode(c.members[c.of[r.URL.Query().Get("addr")]])
}
