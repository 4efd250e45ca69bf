package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
)

// house is the test process, by its URL.
type house string

// join makes the adapter at this address a member of the peer's cluster, or of one of its own, and returns the cluster's database.
func (h house) join(ctx context.Context, addr, peer string) (string, error) {
	data, err := h.get(ctx, "/join?"+url.Values{"addr": {addr}, "peer": {peer}}.Encode())
	return string(data), err
}

func (h house) get(ctx context.Context, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, string(h)+path, nil)
	if err != nil {
		return nil, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }()
	data, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %d %s", path, res.StatusCode, data)
	}
	return data, err
}

// withMembers writes the adapters that share our database into a status, as members of a cluster, ourselves first.
func (a *adapter) withMembers(ctx context.Context, body []byte) ([]byte, error) {
	data, err := a.house.get(ctx, "/members?"+url.Values{"addr": {a.addr}}.Encode())
	if err != nil {
		return nil, err
	}
	var members []string
	var status map[string]any
	if err := json.Unmarshal(data, &members); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(body, &status); err != nil {
		return nil, err
	}
	peers := []map[string]string{{"name": a.addr, "address": a.addr}}
	for _, m := range members {
		if m != a.addr {
			peers = append(peers, map[string]string{"name": m, "address": m})
		}
	}
	status["cluster"] = map[string]any{"name": "tokiflow", "status": "ready", "peers": peers}
	return json.Marshal(status)
}
