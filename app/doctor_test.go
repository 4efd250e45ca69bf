package app_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tokiflow/tokiflow/app"
	"github.com/tokiflow/tokiflow/infra/pg/pgtest"
)

// TestDoctorSpeaksOfTheSecretKey: what the server would seal with, and that what is given is no key.
func TestDoctorSpeaksOfTheSecretKey(t *testing.T) {
	t.Parallel()
	database := pgtest.NewURL(t)
	for _, c := range []struct {
		key     string
		bad     string // the finding that is bad, if any
		finding string
		says    string
	}{
		{"", "", "secret key", "secret.key in the data folder"},
		{strings.Repeat("0f", 32), "", "secret key", "that of --secret-key"},
		{"too short", "options", "options", "openssl rand -hex 32"},
	} {
		said := false
		for _, f := range app.Doctor(t.Context(), app.Options{
			Listen: "127.0.0.1:0", DataDir: t.TempDir(), DatabaseURL: database, Series: app.Series{SecretKey: c.key}, Logger: slog.New(slog.DiscardHandler),
		}) {
			if f.OK == (f.Name == c.bad) {
				t.Errorf("with the key %q: %s: OK is %v: %s", c.key, f.Name, f.OK, f.Text)
			}
			said = said || f.Name == c.finding && strings.Contains(f.Text, c.says)
			if c.key != "" && strings.Contains(f.Text, c.key) {
				t.Errorf("%s tells the key: %s", f.Name, f.Text)
			}
		}
		if !said {
			t.Errorf("with the key %q nothing says %q", c.key, c.says)
		}
	}
}

// TestDoctorReadsTheAlertingConfiguration of a single-user install, with the files it names.
func TestDoctorReadsTheAlertingConfiguration(t *testing.T) {
	t.Parallel()
	database, dir := pgtest.NewURL(t), t.TempDir()
	file := filepath.Join(dir, "alertmanager.yml")
	for name, text := range map[string]string{
		file:                      "route: {receiver: team}\nreceivers:\n- name: team\n  webhook_configs: [{url_file: url}]\n",
		filepath.Join(dir, "url"): "https://example.com/hook",
		file + ".bad":             "route: {receiver: nobody}\nreceivers:\n- name: team\n",
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]app.Finding{
		file:           {Name: "alerting", OK: true, Text: file + " has 1 receivers"},
		file + ".bad":  {Name: "alerting", Text: `undefined receiver "nobody"`},
		file + ".none": {Name: "alerting", Text: "--alertmanager-config: "},
	} {
		found := false
		for _, f := range app.Doctor(t.Context(), app.Options{
			Listen: "127.0.0.1:0", DataDir: dir, DatabaseURL: database, Alerting: app.Alerting{ConfigFile: name}, Logger: slog.New(slog.DiscardHandler),
		}) {
			found = found || f.Name == want.Name && f.OK == want.OK && strings.Contains(f.Text, want.Text)
		}
		if !found {
			t.Errorf("with %s nothing is found as %+v", name, want)
		}
	}
}
