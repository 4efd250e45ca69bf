package api_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-chi/chi/v5"

	"github.com/tokiflow/tokiflow/api"
)

var update = flag.Bool("update", false, "write docs/openapi.json anew")

// publicDocument is the document as it is published: of no particular server and version.
func publicDocument(t *testing.T) []byte {
	t.Helper()
	r := chi.NewRouter()
	api.New(api.Options{Version: "0"}).Routes(r)
	w := httptest.NewRecorder()
	r.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/api/openapi.json", nil))
	if w.Code != http.StatusOK || !strings.Contains(w.Header().Get("Content-Type"), "json") {
		t.Fatalf("%d %s", w.Code, w.Header())
	}
	var out bytes.Buffer
	if err := json.Indent(&out, w.Body.Bytes(), "", "  "); err != nil {
		t.Fatal(err)
	}
	return append(out.Bytes(), '\n')
}

func TestTheDocumentIsThatOfTheCode(t *testing.T) {
	file := filepath.Join("..", "docs", "openapi.json")
	got := publicDocument(t)
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("docs/openapi.json is not what the code says. Look at the change with:\n\tgo test ./api -run TestTheDocument -update && git diff docs/openapi.json")
	}
}

// call is one operation of the document.
type call struct {
	id, method, path, scope string
	body                    bool
}

// calls lists the operations of the document that this package serves.
func calls(t *testing.T) []call {
	t.Helper()
	var doc struct {
		OpenAPI string `json:"openapi"`
		Paths   map[string]map[string]struct {
			OperationID string                `json:"operationId"`
			Summary     string                `json:"summary"`
			Security    []map[string][]string `json:"security"`
			RequestBody any                   `json:"requestBody"`
			Responses   map[string]any        `json:"responses"`
		} `json:"paths"`
	}
	if err := json.Unmarshal(publicDocument(t), &doc); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(doc.OpenAPI, "3.1") {
		t.Errorf("OpenAPI %s", doc.OpenAPI)
	}
	var out []call
	for path, methods := range doc.Paths {
		for method, op := range methods {
			if len(op.Security) != 2 || op.Summary == "" || len(op.Responses) < 2 {
				t.Errorf("%s %s: security %v, summary %q, responses %v", method, path, op.Security, op.Summary, op.Responses)
				continue
			}
			if op.OperationID != "send-pings" {
				out = append(out, call{op.OperationID, strings.ToUpper(method), path, op.Security[0]["bearer"][0], op.RequestBody != nil})
			}
		}
	}
	if len(out) < 20 {
		t.Fatalf("only %d operations", len(out))
	}
	return out
}

// at fills the ids in and gives a body that would do.
func (c call) at(monitor, incident, ping string) (path string, body any) {
	id := monitor
	if strings.Contains(c.path, "/incidents/") {
		id = incident
	}
	path = strings.NewReplacer("{id}", id, "{ping_id}", ping).Replace(c.path)
	switch {
	case c.id == "preview-schedule":
		path += "?interval=1h"
	case strings.HasSuffix(c.path, "/routes/test"):
		path += "?label=alertname=MonitorMissed"
	}
	switch {
	case c.id == "put-dependencies":
		body = `{"depends_on":[]}`
	case c.id == "replace-maintenance-window":
		body = `{"name":"n","scope":{"all":true},"starts_at":"2999-01-01T00:00:00Z","ends_at":"2999-01-02T00:00:00Z"}`
	case c.body:
		body = `{"name":"n","schedule":{"interval":"1h"}}`
	}
	return path, body
}
