package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/tokiflow/tokiflow/alerting/config"
	"github.com/tokiflow/tokiflow/app"
)

// alertingServer says whose alerting configuration to read and change.
type alertingServer struct {
	BaseURL string `name:"base-url" aliases:"url" default:"http://127.0.0.1:8080" placeholder:"URL" help:"Address of the server (also --url)."`
	APIKey  string `name:"api-key" secret:"" placeholder:"KEY" help:"API key of the organisation."`
}

// alertingAnswer is a configuration as the API has it.
type alertingAnswer struct {
	YAML      string            `json:"yaml"`
	Templates map[string]string `json:"templates"`
	Version   int64             `json:"version"`
}

// maxAlertingAnswer is how many bytes of an answer are read.
const maxAlertingAnswer = 16 << 20

// both returns what the file and the server have. The file is found good, but for addresses: the server knows which it calls.
func (s alertingServer) both(ctx context.Context, e environment, file string) (want config.Source, have alertingAnswer, err error) {
	config.UTF8()
	if s.APIKey == "" {
		return want, have, usageError{errors.New("no API key: give --api-key")}
	}
	if want, err = config.ReadFiles(file, e.readFile); err != nil {
		return want, have, err
	}
	if !strings.Contains(want.YAML, "<secret>") { // it can only be judged by who has the secrets
		if _, err := config.Load(want, app.AlertingOptions(true)); err != nil {
			return want, have, config.InFile(file, err)
		}
	}
	have, err = s.get(ctx)
	return want, have, err
}

func (s alertingServer) get(ctx context.Context) (out alertingAnswer, err error) {
	content, err := s.do(ctx, http.MethodGet, "", nil)
	if err != nil {
		return out, fmt.Errorf("reading the server's alerting configuration: %w", err)
	}
	if err := json.Unmarshal(content, &out); err != nil {
		return out, fmt.Errorf("the server's alerting configuration cannot be read: %w", err)
	}
	return out, nil
}

// put replaces the configuration of that version.
func (s alertingServer) put(ctx context.Context, want config.Source, version int64, dryRun bool) (out alertingAnswer, err error) {
	body, err := json.Marshal(alertingAnswer{YAML: want.YAML, Templates: want.Templates, Version: version})
	if err != nil {
		return out, err
	}
	query := ""
	if dryRun {
		query = "?dry_run=true"
	}
	content, err := s.do(ctx, http.MethodPut, query, body)
	if err != nil {
		return out, err
	}
	return out, json.Unmarshal(content, &out)
}

// do sends one request about the configuration and returns the answer's body.
func (s alertingServer) do(ctx context.Context, method, query string, body []byte) ([]byte, error) {
	return serverRequest{
		method: method, address: strings.TrimRight(s.BaseURL, "/") + "/api/v1/alerting/config" + query, key: s.APIKey,
		media: "application/json", body: body, most: maxAlertingAnswer,
	}.do(ctx)
}
