// Package config reads an organisation's alerting configuration: Alertmanager's YAML, with receivers of ours added to it.
//
// What somebody wrote is a Source. Load makes a Config of it, or says what is wrong with it and in which line. Redact takes the secrets
// out of a Source, Merge puts them back where nobody wrote others. A Store keeps one Source for each organisation, sealed.
package config

import (
	"net/url"
	"time"

	"github.com/prometheus/alertmanager/config"
	"go.yaml.in/yaml/v3"
)

// Kind is a kind of receiver that Alertmanager does not have. The package that implements it gives one.
type Kind struct {
	Name    string   // of the integration, in the notification log and in metrics: slack_app
	Key     string   // of its list in a receiver: slack_app_configs
	Secrets []string // keys of an entry whose values are secret; a full stop leads into a mapping: auth.password
	// Check reads an entry and says what is wrong with it, by key. It does no I/O. allowPrivate: private addresses are fine.
	// Where several things are wrong it may give errors.Join of them. An error that begins with a key of the entry gets that key's line.
	Check func(entry *yaml.Node, allowPrivate bool) error
}

// Entry is one entry of such a list.
type Entry struct {
	Kind         string // Kind.Name
	Receiver     string
	Index        int // in its list
	SendResolved bool
	Node         *yaml.Node // with its secrets; its templates made safe to run
}

// Config is a configuration that was read and found good. It is not changed after that; Alertmanager is to be taken as read-only.
type Config struct {
	// Alertmanager is what to run: every template in it was made safe, and runs only with what NewTemplate gives.
	Alertmanager *config.Config
	// Shown is the same as it was written, to be shown as Alertmanager shows its configuration. It has no receivers of ours.
	Shown     *config.Config
	Entries   []Entry           // receivers of ours
	Templates map[string]string // by name, made safe to run
	Source    Source

	defaults *defaults
	now      func() time.Time
}

// Source is what was written down: secrets in the clear.
type Source struct {
	YAML      string            `json:"yaml"`
	Templates map[string]string `json:"templates"` // by name, as `templates:` names them
}

// Options say what a configuration may hold.
type Options struct {
	Kinds        []Kind
	AllowPrivate bool // private addresses may be written
	// CheckURL says what is wrong with an address that is to be called, by itself: a private one, no http. nil: nothing is. It gets
	// http://host:port of an SMTP server too.
	CheckURL func(u *url.URL, allowPrivate bool) error
	// DefaultTemplates are texts of templates that everybody has, as Alertmanager's own; a tenant may define them anew.
	DefaultTemplates []string
	// Now is the clock by which templates are stopped. nil: time.Now.
	Now func() time.Time

	shared *defaults // of Shared
}
