package loadgen

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/tokiflow/tokiflow/core/alert"
	"github.com/tokiflow/tokiflow/core/incident"
)

const groupOfThree = `{"version": "4", "status": "firing", "alerts": [
	{"status": "firing", "labels": {"id": "0b9c3f5e-3c43-5d1e-8f6a-3d1e9d2c4b5a"}, "startsAt": "2026-11-22T10:00:00Z", "endsAt": "0001-01-01T00:00:00Z",
	 "annotations": {"incident_id": "1b9c3f5e-3c43-5d1e-8f6a-3d1e9d2c4b5a", "kind": "missed", "evidence": "{\"deadline_at\": \"2026-11-22T10:00:00Z\"}"}},
	{"status": "resolved", "labels": {"id": "0b9c3f5e-3c43-5d1e-8f6a-3d1e9d2c4b5b"}, "startsAt": "2026-11-22T10:00:00Z", "endsAt": "2026-11-22T10:05:00Z",
	 "annotations": {"incident_id": "1b9c3f5e-3c43-5d1e-8f6a-3d1e9d2c4b5b", "kind": "missed"}},
	{"status": "firing", "labels": {"alertname": "NodeDown"}, "annotations": {}}]}`

func TestRoutedWebhooksAreFiledByAlert(t *testing.T) {
	r, err := newReceiver("")
	if err != nil {
		t.Fatal(err)
	}
	post := func(body string) int {
		t.Helper()
		w := httptest.NewRecorder()
		routed{r}.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader(body)))
		return w.Code
	}
	for range 2 {
		if code := post(groupOfThree); code != http.StatusNoContent {
			t.Fatalf("answered %d", code)
		}
	}
	if code := post("{"); code != http.StatusNoContent {
		t.Errorf("a broken body was answered %d: it is told of, not sent again", code)
	}
	close(r.got)
	var types []string
	for got := range r.got {
		if got.Fault != "" {
			types = append(types, "fault")
			continue
		}
		if got.Data.Incident.Kind != incident.Missed || got.At.IsZero() {
			t.Errorf("read %+v", got)
		}
		what := got.Type
		if got.Again {
			what += " again"
		}
		types = append(types, what)
	}
	want := strings.Join([]string{
		alert.TypeOpened, alert.TypeResolved, alert.TypeOpened + " again", alert.TypeResolved + " again", "fault",
	}, ", ")
	if got := strings.Join(types, ", "); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestRoutesOfOthersAreLeftAlone(t *testing.T) {
	var asked []string
	own := false
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		asked = append(asked, req.Method)
		if own {
			_, _ = w.Write([]byte(`{"default": false}`))
			return
		}
		_, _ = w.Write([]byte(`{"default": true}`))
	}))
	defer s.Close()
	a, err := NewAdmin(s.URL, "key")
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	remove, err := a.putRoutes(t.Context(), "http://127.0.0.1:1/")
	if err != nil {
		t.Fatal(err)
	}
	if err := remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(asked, " "); got != "GET PUT DELETE" {
		t.Errorf("asked %s", got)
	}
	own = true
	if _, err := a.putRoutes(t.Context(), "http://127.0.0.1:1/"); err == nil || !strings.Contains(err.Error(), "of its own") {
		t.Errorf("error %v", err)
	}
}
