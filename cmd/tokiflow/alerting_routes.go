package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/tokiflow/tokiflow/alerting/config"
	"github.com/tokiflow/tokiflow/app"
)

type alertingRoutesCmd struct {
	Show alertingShowCmd `cmd:"" help:"Draw the tree of routes."`
	Test alertingTestCmd `cmd:"" help:"Say which receivers an alert reaches."`
}

// alertingRoutes says whose routes to look at.
type alertingRoutes struct {
	File           string `placeholder:"FILE" help:"A file as Alertmanager has it, instead of the server's configuration."`
	alertingServer `embed:""`
}

// load reads the file, or what the server has.
func (r alertingRoutes) load(ctx context.Context, e environment) (*config.Config, error) {
	config.UTF8()
	o := app.AlertingOptions(true)
	if r.File != "" {
		s, err := config.ReadFiles(r.File, e.readFile)
		if err != nil {
			return nil, err
		}
		c, err := config.Read(s, o)
		if err != nil {
			return nil, config.InFile(r.File, err)
		}
		return c, nil
	}
	if r.APIKey == "" {
		return nil, usageError{errors.New("nothing to look at: give --file, or --api-key for the server's configuration")}
	}
	have, err := r.get(ctx)
	if err != nil {
		return nil, err
	}
	c, err := config.Read(config.Source{YAML: have.YAML, Templates: have.Templates}, o)
	if err != nil {
		return nil, fmt.Errorf("the server's alerting configuration cannot be read: %w", err)
	}
	return c, nil
}

type alertingShowCmd struct {
	alertingRoutes `embed:""`
}

// Help is shown by alerting routes show --help.
func (alertingShowCmd) Help() string {
	return `It prints one line for each route, with its matchers and its receiver, as amtool config routes does.

Examples:

    tokiflow alerting routes show --file alertmanager.yml
    tokiflow alerting routes show --url https://tokiflow.example.org --api-key "$KEY"`
}

// Run draws the tree.
func (s *alertingShowCmd) Run(ctx context.Context, e environment) error {
	ctx, stop := untilSignal(ctx)
	defer stop()
	c, err := s.load(ctx, e)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(e.stdout, "Routing tree:\n%s", c.RouteTree())
	return err
}

type alertingTestCmd struct {
	Labels          []string `arg:"" optional:"" name:"labels" help:"The alert's labels, as name=value."`
	VerifyReceivers string   `placeholder:"NAMES" help:"The receivers that are expected, with commas between and in order. Others: status 1."`
	alertingRoutes  `embed:""`
}

// Help is shown by alerting routes test --help.
func (alertingTestCmd) Help() string {
	return `It prints the names of the receivers that an alert with these labels reaches, in the order of the routes and with commas between, as amtool config routes test does.

Examples:

    tokiflow alerting routes test --file alertmanager.yml severity=critical project=shop
    tokiflow alerting routes test --verify-receivers on-call,team severity=critical`
}

// Run prints the receivers.
func (t *alertingTestCmd) Run(ctx context.Context, e environment) error {
	ctx, stop := untilSignal(ctx)
	defer stop()
	c, err := t.load(ctx, e)
	if err != nil {
		return err
	}
	labels, err := config.ParseLabels(t.Labels)
	if err != nil {
		return usageError{fmt.Errorf("labels: %w", err)}
	}
	got := strings.Join(c.Receivers(labels), ",")
	if _, err := fmt.Fprintln(e.stdout, got); err != nil {
		return err
	}
	if t.VerifyReceivers != "" && t.VerifyReceivers != got {
		if _, err := fmt.Fprintln(e.stdout, "WARNING: Expected receivers did not match resolved receivers."); err != nil {
			return err
		}
		return statusError(exitFailed)
	}
	return nil
}
