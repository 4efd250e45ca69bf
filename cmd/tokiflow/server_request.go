package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

const serverTimeout = 30 * time.Second // of one request

// serverRequest is a request to the API of a server.
type serverRequest struct {
	method, address, key string
	media                string // of both bodies
	body                 []byte // may be empty
	most                 int64  // bytes of the answer that are read
}

// do returns the answer's body. An answer that is no success is an error, a refusedError where the server found mistakes in what was sent.
func (r serverRequest) do(ctx context.Context) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, serverTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, r.method, r.address, bytes.NewReader(r.body))
	if err != nil {
		return nil, usageError{fmt.Errorf("--base-url: %w", err)}
	}
	req.Header.Set("Authorization", "Bearer "+r.key)
	req.Header.Set("Accept", r.media)
	req.Header.Set("User-Agent", "tokiflow/"+version())
	if len(r.body) > 0 {
		req.Header.Set("Content-Type", r.media)
	}
	client := &http.Client{Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	content, err := io.ReadAll(io.LimitReader(resp.Body, r.most))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return nil, refusedOf(resp, content)
	}
	return content, nil
}

// refusedError is what the server found wrong.
type refusedError struct {
	error
	texts []string
}

func refusedOf(resp *http.Response, content []byte) error {
	err := refusal(resp.Status, content)
	var p struct {
		Errors []struct {
			Message string `json:"message"`
		} `json:"errors"`
	}
	if json.Unmarshal(content, &p) != nil || len(p.Errors) == 0 || resp.StatusCode != http.StatusUnprocessableEntity {
		return err
	}
	out := refusedError{error: err}
	for _, one := range p.Errors {
		out.texts = append(out.texts, one.Message)
	}
	return out
}

// refusal is what a problem (RFC 9457) says.
func refusal(status string, content []byte) error {
	var p struct {
		Detail string `json:"detail"`
		Errors []struct {
			Message string `json:"message"`
		} `json:"errors"`
	}
	if err := json.Unmarshal(content, &p); err != nil || p.Detail == "" {
		return fmt.Errorf("the server answered %s", status)
	}
	if len(p.Errors) == 0 {
		return fmt.Errorf("the server answered %s: %s", status, p.Detail)
	}
	texts := make([]string, len(p.Errors))
	for i, e := range p.Errors {
		texts[i] = e.Message
	}
	return fmt.Errorf("the server answered %s: %s", status, strings.Join(texts, "\n"))
}
