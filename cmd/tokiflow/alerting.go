package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tokiflow/tokiflow/alerting/config"
	"github.com/tokiflow/tokiflow/app"
)

type alertingCmd struct {
	Check  alertingCheckCmd  `cmd:"" help:"Look for mistakes in alerting configurations."`
	Sync   alertingSyncCmd   `cmd:"" help:"Bring the server's alerting configuration to what a file says."`
	Diff   alertingDiffCmd   `cmd:"" help:"Show what differs between a file and the server's alerting configuration."`
	Routes alertingRoutesCmd `cmd:"" help:"Look at routes."`
}

type alertingCheckCmd struct {
	Files                []string `arg:"" name:"files" help:"Files as Alertmanager has them."`
	AllowPrivateWebhooks bool     `help:"Private addresses may be called."`
	OwnFile              bool     `help:"The files are for --alertmanager-config of serve: they may name other files."`
}

// Help is shown by alerting check --help.
func (alertingCheckCmd) Help() string {
	return `It needs no server. It prints a line for each file and, on stderr, each mistake with its line; it leaves with status 1 if there is any. Every template is rendered once, with alerts in all shapes. The templates that a file names (templates:) are looked for beside it.

Examples:

    tokiflow alerting check alertmanager.yml
    tokiflow alerting check --own-file /etc/alertmanager/alertmanager.yml`
}

// Run checks.
func (c *alertingCheckCmd) Run(e environment) error {
	config.UTF8()
	wrong := false
	for _, file := range c.Files {
		loaded, err := c.load(e, file)
		if err != nil {
			wrong = true
			if _, err := fmt.Fprintln(e.stderr, err); err != nil {
				return err
			}
			continue
		}
		integrations := len(loaded.Entries) + loaded.Integrations()
		if _, err := fmt.Fprintf(e.stdout, "%s: %d receivers with %d integrations, %d inhibition rules, %d templates\n", file,
			len(loaded.Shown.Receivers), integrations, len(loaded.Shown.InhibitRules), len(loaded.Templates)); err != nil {
			return err
		}
	}
	if wrong {
		return statusError(exitFailed)
	}
	return nil
}

func (c *alertingCheckCmd) load(e environment, file string) (*config.Config, error) {
	o := app.AlertingOptions(c.AllowPrivateWebhooks)
	if c.OwnFile {
		return config.LoadFile(file, o)
	}
	s, err := config.ReadFiles(file, e.readFile)
	if err != nil {
		return nil, err
	}
	loaded, err := config.Load(s, o)
	if err != nil {
		return nil, config.InFile(file, err)
	}
	return loaded, nil
}

type alertingSyncCmd struct {
	File           string `arg:"" name:"file" help:"A file as Alertmanager has it."`
	DryRun         bool   `help:"Only say what would be done."`
	alertingServer `embed:""`
}

// Help is shown by alerting sync --help.
func (alertingSyncCmd) Help() string {
	return `The server checks everything before it changes anything. What changes is printed as a unified diff, without secrets. <secret> in the file stands for what the server has at that place. The templates that the file names (templates:) are looked for beside it and sent along. The API key needs the scopes read and write.

Examples:

    tokiflow alerting sync --url https://tokiflow.example.org --api-key "$KEY" alertmanager.yml
    tokiflow alerting sync --dry-run alertmanager.yml`
}

// Run brings the server to what the file says.
func (s *alertingSyncCmd) Run(ctx context.Context, e environment) error {
	ctx, stop := untilSignal(ctx)
	defer stop()
	want, have, err := s.both(ctx, e, s.File)
	if err != nil {
		return err
	}
	now, err := s.put(ctx, want, have.Version, s.DryRun)
	if err != nil {
		return inAlertingFile(s.File, err)
	}
	shown, err := config.Redact(want, app.AlertingOptions(true).Kinds)
	if err != nil {
		return config.InFile(s.File, err)
	}
	changes := alertingDiff(have, shown)
	if _, err := fmt.Fprint(e.stdout, changes); err != nil {
		return err
	}
	switch {
	case s.DryRun && changes == "":
		_, err = fmt.Fprintln(e.stdout, "nothing would change, but perhaps secrets")
	case s.DryRun:
		_, err = fmt.Fprintf(e.stdout, "would have changed the configuration of version %d\n", have.Version)
	case now.Version == have.Version:
		_, err = fmt.Fprintln(e.stdout, "nothing has changed")
	case changes == "":
		_, err = fmt.Fprintf(e.stdout, "changed secrets alone: the configuration is of version %d now\n", now.Version)
	default:
		_, err = fmt.Fprintf(e.stdout, "changed: the configuration is of version %d now\n", now.Version)
	}
	return err
}

// inAlertingFile puts the file before each line of what the server says is wrong with it.
func inAlertingFile(file string, err error) error {
	refused, ok := errors.AsType[refusedError](err)
	if !ok {
		return err
	}
	lines := make([]string, len(refused.texts))
	for i, t := range refused.texts {
		if rest, found := strings.CutPrefix(t, "line "); found {
			lines[i] = file + ":" + rest
		} else {
			lines[i] = file + ": " + t
		}
	}
	return fmt.Errorf("%w\n%s", errors.New("the server refuses it"), strings.Join(lines, "\n"))
}

type alertingDiffCmd struct {
	File           string `arg:"" name:"file" help:"A file as Alertmanager has it."`
	alertingServer `embed:""`
}

// Help is shown by alerting diff --help.
func (alertingDiffCmd) Help() string {
	return `It prints a unified diff, from what the server has to what the file says, and leaves with status 1 if there is any. Secrets are not compared: the server shows them to nobody. The API key needs the scope read.

Examples:

    tokiflow alerting diff --url https://tokiflow.example.org --api-key "$KEY" alertmanager.yml`
}

// Run prints the differences.
func (d *alertingDiffCmd) Run(ctx context.Context, e environment) error {
	ctx, stop := untilSignal(ctx)
	defer stop()
	want, have, err := d.both(ctx, e, d.File)
	if err != nil {
		return err
	}
	shown, err := config.Redact(want, app.AlertingOptions(true).Kinds)
	if err != nil {
		return config.InFile(d.File, err)
	}
	changes := alertingDiff(have, shown)
	if _, err := fmt.Fprint(e.stdout, changes); err != nil {
		return err
	}
	if changes != "" {
		return statusError(exitFailed)
	}
	return nil
}

// alertingDiff is what differs, the YAML first.
func alertingDiff(have alertingAnswer, want config.Source) string {
	var out strings.Builder
	out.WriteString(unifiedDiff("server/alerting.yml", "file/alerting.yml", have.YAML, want.YAML))
	all := maps.Clone(have.Templates)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, want.Templates)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		out.WriteString(unifiedDiff("server/"+name, "file/"+name, have.Templates[name], want.Templates[name]))
	}
	return out.String()
}
