package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/tokiflow/tokiflow/alerting/config"
	"github.com/tokiflow/tokiflow/infra/pg"
	"github.com/tokiflow/tokiflow/infra/pg/embedded"
)

// Finding is one line of the doctor's report.
type Finding struct {
	Name string
	OK   bool
	Text string // what was found, and what to do about it
}

// maxSkew is how far the database's clock may be from ours, in either direction, before it is worth a word.
const maxSkew = 2 * time.Second

// Doctor looks for what would keep a process with these options from running well. It changes nothing.
func Doctor(ctx context.Context, o Options) []Finding {
	var all []Finding
	add := func(name string, err error, format string, args ...any) {
		f := Finding{Name: name, OK: err == nil, Text: fmt.Sprintf(format, args...)}
		if err != nil {
			f.Text = err.Error()
		}
		all = append(all, f)
	}
	add("options", o.validate(), "they fit together")
	add("listen address", canListen(ctx, o.Listen), "%s is free", o.Listen)
	if o.DatabaseURL == "" || len(o.Kafka.Brokers) == 0 || o.Series.SecretKey == "" {
		add("data folder", canWrite(o.DataDir), "%s can be written", o.DataDir)
	}
	if o.DatabaseURL == "" {
		text, err := inspectEmbedded(ctx, &o)
		add("embedded PostgreSQL", err, "%s", text)
	} else {
		text, err := inspectDatabase(ctx, o.DatabaseURL)
		add("database", err, "%s", text)
	}
	add("secret key", nil, "%s", whichSecretKey(&o))
	if o.Alerting.ConfigFile != "" {
		text, err := inspectAlerting(&o)
		add("alerting", err, "%s", text)
	}
	if len(o.Kafka.Brokers) > 0 {
		text, err := inspectKafka(ctx, o.Kafka, o.Logger)
		add("kafka", err, "%s", text)
	}
	return all
}

// inspectAlerting reads the configuration of a single-user install as the server would.
func inspectAlerting(o *Options) (string, error) {
	c, err := config.LoadFile(o.Alerting.ConfigFile, AlertingOptions(o.AllowPrivateWebhooks))
	if err != nil {
		return "", fmt.Errorf("--alertmanager-config: %w", err)
	}
	return fmt.Sprintf("%s has %d receivers", o.Alerting.ConfigFile, len(c.Shown.Receivers)), nil
}

func canListen(ctx context.Context, address string) error {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("%w: is another tokiflow running? choose another with --listen", err)
	}
	return l.Close()
}

// canWrite tries the folder, or the nearest one above it that exists.
func canWrite(dir string) error {
	for {
		info, err := os.Stat(dir)
		if errors.Is(err, os.ErrNotExist) && filepath.Dir(dir) != dir {
			dir = filepath.Dir(dir)
			continue
		}
		if err != nil {
			return err
		}
		if !info.IsDir() {
			return fmt.Errorf("%s is not a folder", dir)
		}
		f, err := os.CreateTemp(dir, ".tokiflow-doctor-")
		if err != nil {
			return fmt.Errorf("%w: give another folder with --data-dir, or the right to write to this one", err)
		}
		return errors.Join(f.Close(), os.Remove(f.Name()))
	}
}

// whichSecretKey says with what the secrets of forwards and of alerting are sealed. That a key is none is said with the options.
func whichSecretKey(o *Options) string {
	if o.Series.SecretKey != "" {
		return "the secrets of forwards and of alerting are sealed with that of --secret-key"
	}
	if o.DatabaseURL == "" {
		return "the secrets of forwards and of alerting are sealed with the file secret.key in the data folder: keep it with your backups"
	}
	return "the secrets of forwards and of alerting are sealed with the file secret.key in the data folder: keep it with your backups, " +
		"and give --secret-key where several processes share the database"
}

func inspectDatabase(ctx context.Context, url string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	pool, err := pg.Open(ctx, url, pg.Options{MaxConns: 1})
	if err != nil {
		return "", err
	}
	defer pool.Close()
	before := time.Now()
	var theirs time.Time
	if err := pool.QueryRow(ctx, `select clock_timestamp()`).Scan(&theirs); err != nil {
		return "", err
	}
	if skew := theirs.Sub(before.Add(time.Since(before) / 2)); skew.Abs() > maxSkew {
		return "", fmt.Errorf("its clock is %v from ours: pings are stamped by our clock, so let both be set by NTP", skew.Round(time.Millisecond))
	}
	f, err := pg.Detect(ctx, pool)
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(fmt.Sprintf("PostgreSQL %s, %s. %s", f.PostgreSQL, f.Server, f.Note())), nil
}

func inspectEmbedded(ctx context.Context, o *Options) (string, error) {
	b, err := embedded.FindBinaries(ctx, o.PostgresBin)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("PostgreSQL %s in %s", b.Version, b.Dir), nil
}
