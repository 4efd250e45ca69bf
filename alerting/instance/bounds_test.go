package instance_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// TestSilencesThatTakeMuchMemoryAreRefused: sixty kilobytes of classes are a hundred megabytes when they are compiled, and come back at each start.
func TestSilencesThatTakeMuchMemoryAreRefused(t *testing.T) {
	story(t, plainConfig, func(w *world) {
		w.start()
		regex := func(pattern, trail string) string {
			return strings.Replace(silenceOf("", pattern, time.Now().Add(time.Hour)), `"isRegex": false`, `"isRegex": true`, 1) + trail
		}
		huge := strings.Repeat(`\pL`, 20_000)
		for _, body := range []string{regex(huge, ""), regex(huge, " x"), strings.Replace(regex(huge, ""), "matchers", "Matchers", 1)} {
			if got := w.does(http.MethodPost, "/api/v2/silences", body, http.StatusBadRequest); !strings.Contains(got, "too large") {
				t.Errorf("the API says %.200s", got)
			}
		}
		w.does(http.MethodPost, "/api/v2/silences", regex(`back\pL+|re[a-z]{1,30}`, ""), http.StatusOK)
		long, code, answer, n := strings.Repeat("x", 15_000), http.StatusOK, "", 0
		for ; n < 200 && code == http.StatusOK; n++ {
			code, answer = w.ask(http.MethodPost, "/api/v2/silences", regex(fmt.Sprint(long, n), ""))
		}
		if n < 90 || n > 115 || code != http.StatusBadRequest || !strings.Contains(answer, "too large together") {
			t.Errorf("after %d silences the API says %d %.200s", n, code, answer)
		}
	})
}

// TestAlertsThatTakeMuchMemoryAreRefused: what is known can still be told again.
func TestAlertsThatTakeMuchMemoryAreRefused(t *testing.T) {
	story(t, plainConfig, func(w *world) {
		w.start()
		long := strings.Repeat("x", 3<<20)
		post := func(n, want int) string {
			got := w.does(http.MethodPost, "/api/v2/alerts", fmt.Sprintf(`[{"labels": {"alertname": "A%d"}, "annotations": {"a": %q}}]`, n, long), want)
			w.update()
			return got
		}
		for n := range 21 {
			post(n, http.StatusOK)
		}
		if got := post(21, http.StatusInternalServerError); !strings.Contains(got, "too long") {
			t.Errorf("the API says %s", got)
		}
		post(20, http.StatusOK)
	})
}

// TestAnAlertWithANULIsKept: PostgreSQL would refuse it, and all that is posted with it.
func TestAnAlertWithANULIsKept(t *testing.T) {
	story(t, plainConfig, func(w *world) {
		w.start()
		w.does(http.MethodPost, "/api/v2/alerts", `[{"labels": {"alertname": "A", "a": "x\u0000y"}, "annotations": {"b": "\u0000"}}, {"labels": {"alertname": "B"}}]`, http.StatusOK)
		if len(w.table.alerts) != 2 {
			t.Errorf("the table has %v", w.table.alerts)
		}
		for _, a := range w.table.alerts {
			if strings.Contains(a.Labels["a"]+a.Annotations["b"], "\x00") || a.Labels["alertname"] == "A" && a.Labels["a"] != "x\uFFFDy" {
				t.Errorf("the table has %v", a)
			}
		}
	})
}

// TestLongGroupsAreRemembered: an index of PostgreSQL holds 2,700 bytes a row, and what it does not take would be tried for ever.
func TestLongGroupsAreRemembered(t *testing.T) {
	story(t, plainConfig, func(w *world) {
		w.start()
		for _, end := range []string{"a", "b"} {
			w.does(http.MethodPost, "/api/v2/alerts", fmt.Sprintf(`[{"labels": {"alertname": "A", "project": %q}}]`, strings.Repeat("ü", 10_000)+end), http.StatusOK)
		}
		w.update()
		w.after(time.Minute)
		if len(w.table.log) != 2 {
			t.Errorf("the table has %d entries, want 2", len(w.table.log))
		}
		for key, e := range w.table.log {
			if len(e.GroupKey) > 1000 || !utf8.ValidString(e.GroupKey) {
				t.Errorf("%v is %d bytes long", key, len(e.GroupKey))
			}
		}
		w.hears("team", "A", "A")
		w.restart()
		w.after(time.Minute)
		w.hears("team")
	})
}
