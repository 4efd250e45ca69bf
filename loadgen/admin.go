package loadgen

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/common/model"

	"github.com/tokiflow/tokiflow/client"
)

// Admin makes and removes the monitors that a load needs, by the REST API. It is safe for concurrent use.
type Admin struct {
	base *url.URL
	key  string
	http *http.Client
}

// NewAdmin speaks to the server at the address with the API key, which needs the scopes read and write.
func NewAdmin(baseURL, apiKey string) (*Admin, error) {
	base, err := client.ParseBaseURL(baseURL)
	if err != nil {
		return nil, err
	}
	if apiKey == "" {
		return nil, errors.New("no API key")
	}
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, MaxIdleConnsPerHost: atOnce}
	return &Admin{base: base, key: apiKey, http: &http.Client{Transport: transport, Timeout: 30 * time.Second}}, nil
}

// Close lets idle connections go.
func (a *Admin) Close() { a.http.CloseIdleConnections() }

// Monitor is what a load needs to know of one.
type Monitor struct {
	ID      string `json:"id"`
	PingKey string `json:"ping_key"`
	Slug    string `json:"slug"`
	Status  string `json:"status"`
}

// Spec is the monitors to make: Count of them, named by Prefix and a number.
type Spec struct {
	Prefix   string
	Count    int
	Interval time.Duration
	Grace    time.Duration
}

// atOnce is how many requests are under way at the same time.
const atOnce = 16

// Make makes the monitors. After an error those that were made are returned with it.
func (a *Admin) Make(ctx context.Context, s Spec) ([]Monitor, error) {
	made := make([]Monitor, s.Count)
	err := each(s.Count, func(i int) error {
		name := fmt.Sprintf("%s-%05d", s.Prefix, i+1)
		body := map[string]any{
			"name": name, "slug": name, "tags": []string{"bench"},
			"schedule": map[string]string{"interval": model.Duration(s.Interval).String()},
			"grace":    model.Duration(s.Grace).String(),
		}
		return a.call(ctx, http.MethodPost, "/api/v1/monitors", body, &made[i])
	})
	all := made[:0]
	for _, m := range made {
		if m.ID != "" {
			all = append(all, m)
		}
	}
	return all, err
}

// Remove deletes the monitors with all that is known of them.
func (a *Admin) Remove(ctx context.Context, all []Monitor) error {
	return each(len(all), func(i int) error {
		return a.call(ctx, http.MethodDelete, "/api/v1/monitors/"+all[i].ID, nil, nil)
	})
}

// Get reads a monitor.
func (a *Admin) Get(ctx context.Context, id string) (Monitor, error) {
	var m Monitor
	err := a.call(ctx, http.MethodGet, "/api/v1/monitors/"+id, nil, &m)
	return m, err
}

// ProjectKey is the project's key in slug URLs: that of the organisation's first project, in which monitors are made.
func (a *Admin) ProjectKey(ctx context.Context) (string, error) {
	var org struct {
		Projects []struct {
			PingKey string `json:"ping_key"`
		} `json:"projects"`
	}
	if err := a.call(ctx, http.MethodGet, "/api/v1/organisation", nil, &org); err != nil {
		return "", err
	}
	if len(org.Projects) == 0 {
		return "", errors.New("the organisation has no project")
	}
	return org.Projects[0].PingKey, nil
}

// each calls f for 0 to n-1, several at a time, and returns the first error; after one no more calls are begun.
func each(n int, f func(i int) error) error {
	var mu sync.Mutex
	var first error
	next := 0
	take := func() (int, bool) {
		mu.Lock()
		defer mu.Unlock()
		next++
		return next - 1, next <= n && first == nil
	}
	var all sync.WaitGroup
	for range min(n, atOnce) {
		all.Go(func() {
			for i, ok := take(); ok; i, ok = take() {
				if err := f(i); err != nil {
					mu.Lock()
					if first == nil {
						first = err
					}
					mu.Unlock()
				}
			}
		})
	}
	all.Wait()
	return first
}

// call makes one request of the API. in and out may be nil.
func (a *Admin) call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	u := strings.TrimRight(a.base.String(), "/") + path
	req, err := http.NewRequestWithContext(ctx, method, u, body)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+a.key)
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := a.http.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 10<<20))
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s: the server answered %d: %s", method, path, resp.StatusCode, problem(answer))
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	return nil
}

// problem is the gist of an RFC 9457 body, or else its beginning.
func problem(body []byte) string {
	var p struct {
		Detail string `json:"detail"`
		Errors []struct {
			Message  string `json:"message"`
			Location string `json:"location"`
		} `json:"errors"`
	}
	if json.Unmarshal(body, &p) != nil || p.Detail == "" {
		return strings.TrimSpace(string(body[:min(len(body), 200)]))
	}
	for _, e := range p.Errors {
		p.Detail += "; " + e.Location + ": " + e.Message
	}
	return p.Detail
}
