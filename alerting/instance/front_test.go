package instance_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	amalert "github.com/prometheus/alertmanager/alert"

	"github.com/tokiflow/tokiflow/core/alert"
)

// ask sends a request to the instance and returns the answer's status and body.
func (w *world) ask(method, path, body string) (int, string) {
	w.t.Helper()
	r := httptest.NewRequestWithContext(w.t.Context(), method, path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	answer := httptest.NewRecorder()
	w.i.Handler().ServeHTTP(answer, r)
	return answer.Code, answer.Body.String()
}

func (w *world) get(path string) string {
	w.t.Helper()
	code, body := w.ask(http.MethodGet, path, "")
	if code != http.StatusOK {
		w.t.Fatalf("GET %s: %d %s", path, code, body)
	}
	return body
}

func (w *world) list(path string) []map[string]any {
	w.t.Helper()
	var out []map[string]any
	if err := json.Unmarshal([]byte(w.get(path)), &out); err != nil {
		w.t.Fatal(err)
	}
	return out
}

// does sends a request that is to be answered so.
func (w *world) does(method, path, body string, want int) string {
	w.t.Helper()
	code, answer := w.ask(method, path, body)
	if code != want {
		w.t.Errorf("%s %s: %d %s, want %d", method, path, code, answer, want)
	}
	return answer
}

func (w *world) post(name string, want int) {
	w.t.Helper()
	w.does(http.MethodPost, "/api/v2/alerts", `[{"labels": {"alertname": "`+name+`", "project": "shop"}}]`, want)
}

func TestPostedAlertsAreToldAndTimeOut(t *testing.T) {
	story(t, plainConfig, func(w *world) {
		w.start()
		w.post("HighLoad", http.StatusOK)
		w.leaves("HighLoad")
		w.after(11 * time.Second)
		w.hears("team", "HighLoad")
		for range 5 { // as a Prometheus does
			w.update()
			w.after(time.Minute)
			w.post("HighLoad", http.StatusOK)
		}
		w.update()
		w.hears("team")
		w.after(4 * time.Minute)
		w.hears("team")
		w.restart()
		w.after(70 * time.Second) // 5 minutes after it was last posted
		w.hears("team", "-HighLoad")
		w.leaves("")
	})
}

func TestAPostedAlertMayBeResolvedByWhoPostedIt(t *testing.T) {
	story(t, plainConfig, func(w *world) {
		w.start()
		w.post("HighLoad", http.StatusOK)
		w.after(11 * time.Second)
		w.update()
		w.does(http.MethodPost, "/api/v2/alerts", fmt.Sprintf(`[{"labels": {"alertname": "HighLoad", "project": "shop"}, "endsAt": %q}]`,
			time.Now().Format(time.RFC3339)), http.StatusOK)
		w.update()
		w.after(time.Minute)
		w.hears("team", "HighLoad", "-HighLoad")
		w.leaves("")
	})
}

func TestAPostedAlertThatEndedUnheardIsNotTold(t *testing.T) {
	story(t, plainConfig, func(w *world) {
		w.start()
		w.does(http.MethodPost, "/api/v2/alerts", fmt.Sprintf(`[{"labels": {"alertname": "Old"}, "startsAt": %q, "endsAt": %q}]`,
			time.Now().Add(-time.Hour).Format(time.RFC3339), time.Now().Add(-time.Minute).Format(time.RFC3339)), http.StatusOK)
		w.update()
		w.after(time.Minute)
		w.hears("team")
		w.leaves("")
	})
}

func TestAPostedAlertIsSavedOrRefused(t *testing.T) {
	story(t, plainConfig, func(w *world) {
		w.start()
		w.table.fail("SaveAlerts", true)
		w.post("HighLoad", http.StatusInternalServerError)
		w.after(time.Minute)
		w.hears("team")
		if got := w.get("/api/v2/alerts"); got != "[]\n" {
			t.Errorf("the API says %s", got)
		}
		w.table.fail("SaveAlerts", false)
		w.does(http.MethodPost, "/api/v2/alerts", `[{"labels": {}}]`, http.StatusBadRequest)
		w.does(http.MethodPost, "/api/v2/alerts", `[{"labels": `, http.StatusBadRequest)
		w.does(http.MethodPost, "/api/v2/alerts", `[{"labels": {"a": "`+strings.Repeat("x", 5<<20)+`"}}]`, http.StatusRequestEntityTooLarge)
	})
}

func TestAPostedAlertCannotPretendToBeAnIncident(t *testing.T) {
	story(t, plainConfig, func(w *world) {
		w.start()
		backup := w.table.open("backup", time.Now())
		w.update()
		labels, err := json.Marshal(backup.Labels)
		if err != nil {
			t.Fatal(err)
		}
		w.does(http.MethodPost, "/api/v2/alerts", fmt.Sprintf(`[{"labels": %s, "endsAt": %q}, {"labels": {"alertname": "Other", "project": "shop"},
			"annotations": {"incident_id": %q, "summary": "hello"}}]`, labels, time.Now().Format(time.RFC3339), backup.Incident), http.StatusOK)
		w.update()
		w.after(time.Minute)
		w.hears("team", "Other backup")
		for _, a := range w.phones["team"][0].last {
			if a.Labels["alertname"] == "Other" && (a.Annotations[alert.AnnotationIncident] != "" || a.Annotations["summary"] != "hello") {
				t.Errorf("its annotations are %v", a.Annotations)
			}
		}
	})
}

func TestTwoOfOneKindInOneRequestAreOne(t *testing.T) {
	story(t, plainConfig, func(w *world) {
		w.start()
		w.does(http.MethodPost, "/api/v2/alerts", `[{"labels": {"alertname": "A"}, "annotations": {"n": "1"}}, {"labels": {"alertname": "A"}, "annotations": {"n": "2"}}]`, http.StatusOK)
		if got := w.list("/api/v2/alerts"); len(got) != 1 {
			t.Errorf("the API has %v", got)
		}
		if len(w.table.alerts) != 1 {
			t.Errorf("the table has %v", w.table.alerts)
		}
	})
}

func TestAnOpenAlertIsShownWithAnEndThatMakesSense(t *testing.T) {
	story(t, plainConfig, func(w *world) {
		w.start()
		w.table.open("backup", time.Now())
		w.update()
		w.after(time.Hour)
		if last := w.phones["team"][0].last; len(last) != 1 || !last[0].EndsAt.IsZero() {
			t.Errorf("told as %v", last)
		}
		groups := w.list("/api/v2/alerts/groups")
		if len(groups) != 1 {
			t.Fatalf("the API has %v", groups)
		}
		var shown []map[string]any
		raw, err := json.Marshal(groups[0]["alerts"])
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(raw, &shown); err != nil {
			t.Fatal(err)
		}
		for _, a := range append(w.list("/api/v2/alerts"), shown...) {
			ends, err := time.Parse(time.RFC3339, fmt.Sprint(a["endsAt"]))
			if err != nil || time.Until(ends).Round(time.Second) != 5*time.Minute {
				t.Errorf("it is shown to end at %v (%v)", a["endsAt"], err)
			}
		}
	})
}

func (w *world) setSilence(monitor string, want int) string {
	w.t.Helper()
	body := w.does(http.MethodPost, "/api/v2/silences", silenceOf("", monitor, time.Now().Add(time.Hour)), want)
	var out struct {
		SilenceID string `json:"silenceID"`
	}
	if want == http.StatusOK {
		if err := json.Unmarshal([]byte(body), &out); err != nil {
			w.t.Fatal(err)
		}
	}
	return out.SilenceID
}

func silenceOf(id, monitor string, ends time.Time) string {
	return fmt.Sprintf(`{"id": %q, "matchers": [{"name": "monitor", "value": %q, "isRegex": false, "isEqual": true}], "startsAt": %q, "endsAt": %q, "createdBy": "ann", "comment": "c"}`,
		id, monitor, time.Now().Format(time.RFC3339Nano), ends.Format(time.RFC3339Nano))
}

func TestSilencesOfTheAPI(t *testing.T) {
	story(t, plainConfig, func(w *world) {
		w.start()
		id := w.setSilence("backup", http.StatusOK)
		if w.table.calls["SaveSilences"] != 1 || len(w.table.silences) != 1 {
			t.Errorf("the table has %v", w.table.silences)
		}
		w.table.open("backup", time.Now())
		w.update()
		w.after(time.Minute)
		w.hears("team")
		if got := w.list("/api/v2/alerts?silenced=false"); len(got) != 0 {
			t.Errorf("the API has %v", got)
		}
		w.restart()
		w.after(time.Minute)
		w.hears("team")
		w.does(http.MethodDelete, "/api/v2/silence/"+id, "", http.StatusOK)
		w.does(http.MethodDelete, "/api/v2/silence/"+id, "", http.StatusOK)
		w.after(time.Minute)
		w.hears("team", "backup")
		w.does(http.MethodDelete, "/api/v2/silence/3dbd3053-54a4-4a6d-8f0a-9d2ab1fa8f63", "", http.StatusNotFound)
		w.does(http.MethodDelete, "/api/v2/silence/none", "", http.StatusUnprocessableEntity)
		w.does(http.MethodPost, "/api/v2/silences", silenceOf("", "x", time.Now().Add(-time.Hour)), http.StatusBadRequest)
		w.does(http.MethodPost, "/api/v2/silences", silenceOf("3dbd3053-54a4-4a6d-8f0a-9d2ab1fa8f63", "x", time.Now().Add(time.Hour)), http.StatusNotFound)
		w.get("/api/v2/silence/" + id)
	})
}

func TestASilenceThatCannotBeSavedIsTakenBack(t *testing.T) {
	story(t, plainConfig, func(w *world) {
		w.start()
		kept := w.setSilence("report", http.StatusOK)
		w.update()
		w.table.open("backup", time.Now())
		w.table.open("report", time.Now())
		w.update()
		w.after(11 * time.Second)
		w.hears("team", "backup")
		w.table.fail("SaveSilences", true)
		w.setSilence("backup", http.StatusInternalServerError)
		w.does(http.MethodDelete, "/api/v2/silence/"+kept, "", http.StatusInternalServerError)
		w.does(http.MethodPost, "/api/v2/silences", silenceOf(kept, "other", time.Now().Add(time.Hour)), http.StatusInternalServerError)
		if got := w.list("/api/v2/silences"); len(got) != 1 || got[0]["id"] != kept {
			t.Errorf("the API has %v", got)
		}
		if got := w.list("/api/v2/alerts?silenced=false"); len(got) != 1 {
			t.Errorf("the API has %v", got)
		}
		w.after(30 * time.Minute)
		w.hears("team") // report is silenced still
		w.after(31 * time.Minute)
		w.hears("team", "backup report")
	})
}

func TestWhatElseIsServed(t *testing.T) {
	story(t, plainConfig, func(w *world) {
		w.start()
		w.get("/-/healthy")
		w.get("/-/ready")
		if got := w.get("/api/v2/receivers"); !strings.Contains(got, `"team"`) {
			t.Errorf("the API says %s", got)
		}
		if got := w.get("/api/v2/status"); !strings.Contains(got, `receiver: team`) || !strings.Contains(got, `"status":"ready"`) {
			t.Errorf("the API says %s", got)
		}
		if err := w.i.Apply(w.parse(strings.ReplaceAll(plainConfig, "team", "others"))); err != nil {
			t.Fatal(err)
		}
		if got := w.get("/api/v2/status"); !strings.Contains(got, `receiver: others`) {
			t.Errorf("the API says %s", got)
		}
		w.does(http.MethodPost, "/-/reload", "", http.StatusNotFound)
		w.does(http.MethodGet, "/api/v1/alerts", "", http.StatusNotFound)
		w.i.Stop()
		w.does(http.MethodGet, "/-/ready", "", http.StatusServiceUnavailable)
	})
}

func TestThousandsAreToldInOneMessage(t *testing.T) {
	story(t, plainConfig, func(w *world) {
		w.start()
		var rows []alert.Routed
		for n := range 3000 {
			rows = append(rows, w.table.open(fmt.Sprintf("m%d", n), time.Now()))
		}
		w.update()
		w.after(11 * time.Second)
		p := w.phones["team"][0]
		if len(p.heard) != 1 || len(p.last) != 3000 {
			t.Fatalf("%d messages, the last of %d alerts", len(p.heard), len(p.last))
		}
		for _, r := range rows {
			w.table.resolve(r, time.Now())
		}
		w.update()
		w.after(16 * time.Second)
		if len(p.heard) != 2 || !p.last[0].Resolved() {
			t.Errorf("%d messages", len(p.heard))
		}
		w.leaves("")
		if alerts := amalert.Alerts(p.last...); len(alerts) != 3000 {
			t.Errorf("%d alerts", len(alerts))
		}
	})
}
