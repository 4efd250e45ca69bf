// Package config reads an organisation's alerting configuration: Alertmanager's YAML, with receivers of ours added to it.
package config

import (
	"github.com/prometheus/alertmanager/config"
	"go.yaml.in/yaml/v3"
)

// Kind is a kind of receiver that Alertmanager does not have. The package that implements it gives one.
type Kind struct {
	Name    string   // of the integration, in the notification log and in metrics: slack_app
	Key     string   // of its list in a receiver: slack_app_configs
	Secrets []string // keys of an entry whose values are secret
	// Check reads an entry and says what is wrong with it, by key. It does no I/O. allowPrivate: private addresses are fine.
	Check func(entry *yaml.Node, allowPrivate bool) error
}

// Entry is one entry of such a list.
type Entry struct {
	Kind         string // Kind.Name
	Receiver     string
	Index        int // in its list
	SendResolved bool
	Node         *yaml.Node // with its secrets
}

// Config is a configuration that was read and found good. It is not changed after that; Alertmanager is to be taken as read-only.
type Config struct {
	Alertmanager *config.Config
	Entries      []Entry           // receivers of ours
	Templates    map[string]string // by name, made safe to run
	Source       Source
}

// Source is what was written down: secrets in the clear.
type Source struct {
	YAML      string            `json:"yaml"`
	Templates map[string]string `json:"templates"` // by name, as `templates:` names them
}
