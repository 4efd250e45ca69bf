package app_test

import (
	"log/slog"
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
