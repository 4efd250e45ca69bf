package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/tokiflow/tokiflow/core/rule"
	"github.com/tokiflow/tokiflow/rules"
)

// rulesServer says whose rules to read and change.
type rulesServer struct {
	BaseURL string `name:"base-url" aliases:"url" default:"http://127.0.0.1:8080" placeholder:"URL" help:"Address of the server (also --url)."`
	APIKey  string `name:"api-key" secret:"" placeholder:"KEY" help:"API key of the organisation."`
}

// maxRuleAnswer is how many bytes of an answer are read.
const maxRuleAnswer = 256 << 20

// both returns the groups that the files and the server have, by name, in one form.
func (s rulesServer) both(ctx context.Context, e environment, f *rules.Format, files []string) (want, have map[string]string, err error) {
	if s.APIKey == "" {
		return nil, nil, usageError{errors.New("no API key: give --api-key")}
	}
	groups, err := readRules(e, f, files, nil)
	if err != nil {
		return nil, nil, err
	}
	if want, err = written(f, groups); err != nil {
		return nil, nil, err
	}
	content, err := s.do(ctx, http.MethodGet, "", "")
	if err != nil {
		return nil, nil, fmt.Errorf("reading the server's rules: %w", err)
	}
	theirs, errs := f.ParseFile(content)
	if len(errs) > 0 {
		return nil, nil, fmt.Errorf("the server's rules cannot be read: %w", errors.Join(errs...))
	}
	have, err = written(f, theirs)
	return want, have, err
}

func written(f *rules.Format, groups []rule.Group) (map[string]string, error) {
	out := make(map[string]string, len(groups))
	for _, g := range groups {
		b, err := f.MarshalGroup(g)
		if err != nil {
			return nil, fmt.Errorf("group %q: %w", g.Name, err)
		}
		out[g.Name] = string(b)
	}
	return out, nil
}

func (s rulesServer) put(ctx context.Context, name, group string) error {
	_, err := s.do(ctx, http.MethodPut, name, group)
	return err
}

func (s rulesServer) delete(ctx context.Context, name string) error {
	_, err := s.do(ctx, http.MethodDelete, name, "")
	return err
}

// do sends one request about the group of that name, or about all where it is empty, and returns the answer's body.
func (s rulesServer) do(ctx context.Context, method, name, body string) ([]byte, error) {
	address := strings.TrimRight(s.BaseURL, "/") + "/api/v1/rules"
	if name != "" {
		// Dots too: "." and ".." would be taken for ways through the tree.
		address += "/" + strings.ReplaceAll(url.PathEscape(name), ".", "%2E")
	}
	return serverRequest{
		method: method, address: address, key: s.APIKey, media: "application/yaml", body: []byte(body), most: maxRuleAnswer,
	}.do(ctx)
}
