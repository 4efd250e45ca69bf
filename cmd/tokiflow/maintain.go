package main

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/tokiflow/tokiflow/app"
)

type migrateCmd struct {
	databaseFlags `embed:""`
	loggingFlags  `embed:""`
}

// Help is shown by migrate --help.
func (migrateCmd) Help() string {
	return `serve does the same when it starts; migrate is for those who want it as a step of its own, before several processes start.

Examples:

    tokiflow migrate --database-url postgres://tokiflow@db/tokiflow
    DATABASE_URL=postgres://tokiflow@db/tokiflow tokiflow migrate`
}

// Run migrates and leaves.
func (m *migrateCmd) Run(ctx context.Context, e environment) error {
	ctx, stop := untilSignal(ctx)
	defer stop()
	o := app.Options{Version: version(), Logger: m.logger(e.stderr)}
	m.fill(&o)
	return app.Migrate(ctx, o)
}

type doctorCmd struct {
	Listen        string `default:"127.0.0.1:8080" placeholder:"HOST:PORT" help:"Address the server is to listen on." group:"http"`
	BaseURL       string `placeholder:"URL" help:"Address under which clients reach the server." group:"http"`
	databaseFlags `embed:""`
	SecretKey     string `secret:"" placeholder:"KEY" help:"Key under which the secrets of customers (of forwards and of alerting) are kept in the database, 32 bytes in hexadecimal or base64: openssl rand -hex 32 makes one. Without it one is made in the data folder; processes that share a database must share the key." group:"database"`
	kafkaFlags    `embed:""`

	AllowPrivateWebhooks bool   `help:"Let webhooks go to addresses of this machine and of private networks." group:"alert"`
	AlertmanagerConfig   string `type:"path" placeholder:"FILE" help:"Alertmanager's configuration for a single-user install." group:"alert"`

	loggingFlags `embed:""`
}

// Help is shown by doctor --help.
func (doctorCmd) Help() string {
	return `It takes those options of serve that name what may be missing or wrong, and the same environment variables, changes nothing, and prints one line for each thing it looked at. It leaves with status 1 if the server would not run.

Examples:

    tokiflow doctor
    tokiflow doctor --kafka-brokers k1:9092 --database-url postgres://tokiflow@db/tokiflow`
}

// Run looks and reports.
func (d *doctorCmd) Run(ctx context.Context, e environment) error {
	ctx, stop := untilSignal(ctx)
	defer stop()
	o := app.Options{Listen: d.Listen, BaseURL: d.BaseURL, Series: app.Series{SecretKey: d.SecretKey}, Version: version(), Logger: d.logger(e.stderr)}
	o.AllowPrivateWebhooks, o.Alerting.ConfigFile = d.AllowPrivateWebhooks, d.AlertmanagerConfig
	d.databaseFlags.fill(&o)
	d.kafkaFlags.fill(&o)
	bad := 0
	for _, f := range app.Doctor(ctx, o) {
		mark := "ok  "
		if !f.OK {
			mark = "BAD "
			bad++
		}
		if _, err := fmt.Fprintf(e.stdout, "%s %s: %s\n", mark, f.Name, f.Text); err != nil {
			return err
		}
	}
	if bad > 0 {
		return statusError(exitFailed)
	}
	return nil
}

type versionCmd struct{}

// Help is shown by version --help.
func (versionCmd) Help() string {
	return `Example:

    tokiflow version`
}

// Run prints the version the Go toolchain has written into the binary.
func (versionCmd) Run(e environment) error {
	_, err := fmt.Fprintf(e.stdout, "tokiflow %s %s %s/%s\n", version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}

// version is the module's version where the binary was built from a tag, else the commit, else "unknown".
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	revision, dirty := "unknown", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision" && len(s.Value) >= 12:
			revision = s.Value[:12]
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "+changes"
		}
	}
	return revision + dirty
}
