package mail

import (
	"errors"
	"fmt"
	netmail "net/mail"
	"strings"
	texttemplate "text/template"

	"github.com/prometheus/alertmanager/template"
	"go.yaml.in/yaml/v3"

	"github.com/tokiflow/tokiflow/alerting/config"
)

// Name is the kind of resend_configs.
const Name = "resend"

// Kind is resend_configs: e-mail by Resend's HTTP API.
func Kind() config.Kind {
	return config.Kind{Name: Name, Key: "resend_configs", Secrets: []string{"api_key"}, Check: check}
}

// resendEntry is an entry of resend_configs.
type resendEntry struct {
	To           string            `yaml:"to"`
	From         string            `yaml:"from"`
	APIKey       string            `yaml:"api_key"`
	Subject      string            `yaml:"subject"`
	HTML         string            `yaml:"html"`
	Text         string            `yaml:"text"`
	Headers      map[string]string `yaml:"headers"`
	SendResolved *bool             `yaml:"send_resolved"`
}

func check(entry *yaml.Node, _ bool) error {
	e, err := readResend(entry)
	if err != nil {
		return err
	}
	return e.validate()
}

// readResend reads an entry, whose templates may have been made safe to run since it was checked; its error names the key that is wrong and holds no secret.
func readResend(entry *yaml.Node) (resendEntry, error) {
	var e resendEntry
	if entry == nil || entry.Kind != yaml.MappingNode {
		return e, errors.New("must be a map with to, and perhaps from, api_key, subject, html, text, headers, send_resolved")
	}
	known := map[string]any{
		"to": &e.To, "from": &e.From, "api_key": &e.APIKey, "subject": &e.Subject, "html": &e.HTML, "text": &e.Text, "headers": &e.Headers,
		"send_resolved": &e.SendResolved,
	}
	for i := 0; i+1 < len(entry.Content); i += 2 {
		key := entry.Content[i].Value
		into, ok := known[key]
		if !ok {
			return e, fmt.Errorf("%s: unknown key", key)
		}
		if err := entry.Content[i+1].Decode(into); err != nil {
			return e, fmt.Errorf("%s: has the wrong type", key) // without the cause, which quotes the value
		}
	}
	return e, nil
}

func (e resendEntry) validate() error {
	if strings.TrimSpace(e.To) == "" {
		return errors.New("to: must be an address, or several with commas between")
	}
	for _, field := range []struct{ name, text string }{{"to", e.To}, {"from", e.From}} {
		if field.text == "" || strings.Contains(field.text, "{{") {
			continue
		}
		list, err := netmail.ParseAddressList(field.text)
		if err != nil || field.name == "from" && len(list) != 1 {
			return fmt.Errorf("%s: must be an address, as Team <team@example.com>", field.name)
		}
	}
	for _, field := range []struct{ name, text string }{
		{"to", e.To}, {"from", e.From}, {"subject", e.Subject}, {"html", e.HTML}, {"text", e.Text},
	} {
		if err := parses(field.text); err != nil {
			return fmt.Errorf("%s: is no template: %w", field.name, err)
		}
	}
	if strings.ContainsAny(e.APIKey, " \t\r\n") {
		return errors.New("api_key: must have no spaces")
	}
	for name, text := range e.Headers {
		if err := checkHeader(name); err != nil {
			return fmt.Errorf("headers: %w", err)
		}
		if err := parses(text); err != nil {
			return fmt.Errorf("headers: %s is no template: %w", name, err)
		}
	}
	return nil
}

func parses(text string) error {
	_, err := texttemplate.New("").Funcs(texttemplate.FuncMap(template.DefaultFuncs)).Parse(text)
	return err
}
