package api

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/monitor"
)

func TestACursorComesBackAsItWas(t *testing.T) {
	for _, c := range []cursor{
		{Of: "monitors", ID: uuid.New()},
		{Of: "pings", At: time.Date(2026, 1, 1, 0, 0, 0, 1000, time.UTC), Tie: "42"},
		{Of: "incidents", At: time.Date(1, 1, 1, 0, 0, 0, 1000, time.UTC), ID: uuid.Max},
	} {
		text, err := c.encode()
		if err != nil {
			t.Fatal(err)
		}
		got, err := decodeCursor(c.Of, text)
		if d := cmp.Diff(c, got); d != "" || err != nil {
			t.Errorf("%v %s", err, d)
		}
		if _, err := decodeCursor("other", text); err == nil {
			t.Errorf("%s was taken as a cursor of another list", c.Of)
		}
	}
}

func FuzzCursor(f *testing.F) {
	f.Add("")
	f.Add("e30")
	text, err := cursor{Of: "pings", At: time.Now().UTC(), Tie: "1"}.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Fuzz(func(t *testing.T, text string) {
		c, err := decodeCursor("pings", text)
		if err != nil || text == "" {
			return
		}
		again, err := c.encode()
		if err != nil {
			t.Fatalf("%+v cannot be written: %v", c, err)
		}
		back, err := decodeCursor("pings", again)
		if err != nil || !back.At.Equal(c.At) || back.ID != c.ID || back.Tie != c.Tie {
			t.Fatalf("%+v came back as %+v, %v", c, back, err)
		}
	})
}

func TestMergePatch(t *testing.T) {
	// The examples of RFC 7396, appendix A, whose patch is an object, and ours of schedule.
	for _, c := range []struct{ target, patch, want string }{
		{`{"a":"b"}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"b"}`, `{"b":"c"}`, `{"a":"b","b":"c"}`},
		{`{"a":"b"}`, `{"a":null}`, `{}`},
		{`{"a":"b","b":"c"}`, `{"a":null}`, `{"b":"c"}`},
		{`{"a":["b"]}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"c"}`, `{"a":["b"]}`, `{"a":["b"]}`},
		{`{"a":{"b":"c"}}`, `{"a":{"b":"d","c":null}}`, `{"a":{"b":"d"}}`},
		{`{"a":[{"b":"c"}]}`, `{"a":[1]}`, `{"a":[1]}`},
		{`{"e":null}`, `{"a":1}`, `{"e":null,"a":1}`},
		{`{}`, `{"a":{"bb":{"ccc":null}}}`, `{"a":{"bb":{}}}`},
		{`{"schedule":{"interval":"1h"}}`, `{"schedule":{"cron":"* * * * *"}}`, `{"schedule":{"cron":"* * * * *"}}`},
		{`{"schedule":{"cron":"* * * * *","timezone":"UTC"}}`, `{"schedule":{"cron":"1 * * * *","timezone":null}}`, `{"schedule":{"cron":"1 * * * *"}}`},
	} {
		target, patch, want := object(t, c.target), object(t, c.patch), object(t, c.want)
		before, err := json.Marshal(target)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, merge(target, patch)); d != "" {
			t.Errorf("%s and %s: %s", c.target, c.patch, d)
		}
		if after, err := json.Marshal(target); err != nil || string(after) != string(before) {
			t.Errorf("the target %s became %s", before, after)
		}
	}
}

func object(t *testing.T, text string) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		t.Fatal(err)
	}
	return m
}

// Whatever a body says, it makes a valid configuration or an error, and a configuration's own document makes it again.
func FuzzBody(f *testing.F) {
	for _, seed := range []string{
		`{"name":"n","schedule":{"interval":"1h"}}`,
		`{"name":"n","slug":"s","schedule":{"cron":"0 3 * * *","timezone":"Europe/Berlin"},"grace":"5m","early":"0s","max_runtime":"1h","failure_tolerance":0,
		"manual_resume":false,"tags":["a"],"labels":{"a":"b"},"anomaly":{"enabled":true,"z_score":3,"min_runs":10,"min_deviation":"1s"}}`,
		`{"name":null,"schedule":[],"labels":{"":null}}`,
		`{"schedule":{"interval":"99999999y"}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var d map[string]any
		if json.Unmarshal(body, &d) != nil {
			return
		}
		c, err := configOf(merge(nil, d))
		if err != nil {
			return
		}
		if err := c.Validate(); err != nil {
			t.Fatalf("%s made an invalid configuration: %v", body, err)
		}
		own, err := documentOf(c)
		if err != nil {
			t.Fatal(err)
		}
		again, err := configOf(own)
		if d := cmp.Diff(c, again); d != "" || err != nil {
			t.Fatalf("%s: %v %s", body, err, d)
		}
	})
}

func TestADocumentOfTheDefaultsIsWhole(t *testing.T) {
	c := monitor.DefaultConfig()
	c.Name, c.Schedule.Cron = "n", "@daily"
	own, err := documentOf(c)
	if err != nil {
		t.Fatal(err)
	}
	again, err := configOf(own)
	if d := cmp.Diff(c, again); d != "" || err != nil {
		t.Errorf("%v %s", err, d)
	}
}
