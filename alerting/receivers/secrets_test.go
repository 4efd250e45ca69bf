package receivers_test

import (
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/alerting/receivers"
)

func newID() uuid.UUID { return uuid.New() }

func TestClean(t *testing.T) {
	for text, want := range map[string]string{
		`Post "https://hooks.slack.com/services/T/B/abc": EOF`:      `Post "https://hooks.slack.com/…": EOF`,
		"see https://a.example.":                                    "see https://a.example.",
		"https://user:pw@a.example/":                                "https://a.example/…",
		"(https://a.example/x?y=z), and so on":                      "(https://a.example/…), and so on",
		"ftp://a.example/x":                                         "ftp://a.example/…",
		"http://%zz":                                                "<redacted>",
		"telegram: /bot12345:abc-DEF_9/sendMessage is not there":    "telegram: /bot<secret>/sendMessage is not there",
		"the key is s3cr3t-value, said twice: s3cr3t-value":         "the key is <secret>, said twice: <secret>",
		"one\n\ttwo\x00 three  four":                                "one two three four",
		"a value s3cr3t-value%2Fx and " + url.QueryEscape("p w/d!"): "a value <secret>%2Fx and <secret>",
	} {
		if got := receivers.Clean(text, "s3cr3t-value", "p w/d!", "", "ab"); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
	if got := receivers.Clean(strings.Repeat("é", 1000)); utf8.RuneCountInString(got) != 500 || !strings.HasSuffix(got, "…") {
		t.Errorf("%d characters", utf8.RuneCountInString(got))
	}
}

func FuzzClean(f *testing.F) {
	f.Add("Post \"https://a.example/%s\": no", "token-token")
	f.Add("x://y/%s z", "abcd")
	f.Fuzz(func(t *testing.T, text, key string) {
		if len(key) < 4 || strings.Contains("<secret><redacted>://…", key) {
			return
		}
		got := receivers.Clean(strings.ReplaceAll(text, "%s", key), key)
		if utf8.ValidString(key) && strings.Contains(got, key) && !strings.Contains(receivers.Clean(strings.ReplaceAll(text, "%s", ""), ""), key) &&
			!strings.ContainsAny(key, "<>secrtda/… ") {
			t.Errorf("%q is in %q", key, got)
		}
		if !utf8.ValidString(got) || utf8.RuneCountInString(got) > 500 || strings.ContainsAny(got, "\n\x00") {
			t.Errorf("%q", got)
		}
	})
}
