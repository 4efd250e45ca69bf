package docs_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tokiflow/tokiflow/test/services"
)

// prometheusOfThePage starts a real Prometheus with what docs/prometheus.md says to put into prometheus.yml, and waits until it has
// scraped and written. It returns where it is, and brings promtool into the reader's PATH.
func prometheusOfThePage(t *testing.T, s site) string {
	t.Helper()
	if err := os.Symlink(services.PromtoolProgram(t), filepath.Join(s.bin, "promtool")); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, "docs", "prometheus.md"))
	if err != nil {
		t.Fatal(err)
	}
	keys := t.TempDir()
	for file, scope := range map[string]string{"tokiflow.key": "metrics", "tokiflow-write.key": "samples"} {
		if err := os.WriteFile(filepath.Join(keys, file), []byte(keyOf(t, s, scope)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var config strings.Builder
	for _, part := range []string{"scrape_configs", "remote_write", "remote_read"} {
		m := regexp.MustCompile("(?s)```yaml\n(" + part + ":.*?)```").FindSubmatch(text)
		if m == nil {
			t.Fatalf("docs/prometheus.md has no block that begins with %s", part)
		}
		config.Write(m[1])
	}
	p := services.Prometheus(t, strings.NewReplacer(
		"https://tokiflow.example.com", s.url, "/etc/prometheus", keys, "scrape_interval: 15s", "scrape_interval: 1s",
	).Replace(config.String()), "--web.enable-remote-write-receiver")
	await(t, p.URL(), `up{job="tokiflow"} == 1`)
	await(t, s.url+"/prometheus", `up{job="tokiflow"} == 1`)
	return p.URL()
}

// keyOf makes a key that has one scope alone.
func keyOf(t *testing.T, s site, scope string) string {
	t.Helper()
	body := strings.NewReader(`{"name": "of the test", "scopes": ["` + scope + `"]}`)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url+"/api/v1/api-keys", body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+apiKey)
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	var made struct {
		Key string `json:"key"`
	}
	if err := json.NewDecoder(res.Body).Decode(&made); err != nil || made.Key == "" {
		t.Fatalf("no key with the scope %s: status %d, %v", scope, res.StatusCode, err)
	}
	return made.Key
}

// await asks until there is an answer that is not empty.
func await(t *testing.T, server, query string) {
	t.Helper()
	look := time.NewTicker(200 * time.Millisecond)
	defer look.Stop()
	late := time.After(time.Minute)
	for said := ""; ; {
		select {
		case <-look.C:
		case <-late:
			t.Fatalf("%s has nothing at %s after a minute; the last answer was %s", query, server, said)
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server+"/api/v1/query?query="+url.QueryEscape(query), nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+apiKey)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if said = string(body); strings.Contains(said, `"value":[`) {
			return
		}
	}
}
