package config

import (
	"net"
	"net/url"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"
)

// refuse names what may not stand in a configuration that is not the operator's own: what reads this machine's files, environment or
// credentials, and what is no matter of an organisation.
func refuse(root *yaml.Node) Problems {
	var p Problems
	pairs(root, func(key, _ *yaml.Node) {
		if key.Value == "tracing" || key.Value == "event_recorder" {
			p.add(key, "%s is a matter of the server, not of an organisation: remove it", key.Value)
		}
	})
	schema{key: func(key, value *yaml.Node, of reflect.Type) {
		name := key.Value
		switch {
		case strings.HasSuffix(name, "_file") || strings.HasSuffix(name, "_files") || name == "files" && of.Name() == "Header":
			p.add(key, "%s names a file, and the server reads no files for an organisation: write the value itself, under %s", name, inlineKey(name))
		case strings.HasSuffix(name, "_ref"):
			p.add(key, "%s names a secret of a secret manager, and there is none: write the value itself, under %s", name, inlineKey(name))
		case name == "proxy_from_environment" && value.Value != "false":
			p.add(key, "proxy_from_environment would use the server's own proxies: write proxy_url")
		case of.Name() == "SigV4Config" && name == "profile":
			p.add(key, "profile names credentials of the server's machine: write access_key and secret_key")
		case name == "use_aws_http_client" && value.Value != "false":
			p.add(key, "use_aws_http_client is not allowed: remove it")
		case name == "sns_configs":
			refuseMachineCredentials(value, &p)
		}
	}}.document(root)
	return p
}

// refuseMachineCredentials wants credentials in every entry: without them those of the machine would be used.
func refuseMachineCredentials(entries *yaml.Node, p *Problems) {
	for _, entry := range entries.Content {
		if keys := field(entry, "sigv4"); text(keys, "access_key") == "" || text(keys, "secret_key") == "" {
			p.add(entry, "an entry of sns_configs needs sigv4 with access_key and secret_key")
		}
	}
}

// inlineKey is the key under which the value itself stands.
func inlineKey(name string) string {
	switch name {
	case "files":
		return "secrets"
	case "bearer_token_file":
		return "authorization.credentials"
	}
	for _, suffix := range []string{"_files", "_file", "_ref"} {
		name = strings.TrimSuffix(name, suffix)
	}
	return name
}

// addresses names the addresses that may not be called.
func (o Options) addresses(root *yaml.Node) Problems {
	var p Problems
	if o.CheckURL == nil {
		return nil
	}
	schema{value: func(n *yaml.Node, t reflect.Type, place []string) {
		key := place[len(place)-1]
		if !isAddress(t, key) || n.Value == "" || n.Value == secretToken || strings.Contains(n.Value, "{{") {
			return // what a template gives is looked at when it is called
		}
		u, err := url.Parse(n.Value)
		if t.Name() == "HostPort" {
			host, port, splitErr := net.SplitHostPort(n.Value)
			u, err = &url.URL{Scheme: "http", Host: net.JoinHostPort(host, port)}, splitErr
		}
		if err != nil || u.Host == "" {
			return // Alertmanager says so
		}
		if u.Scheme == "socks5" || u.Scheme == "socks5h" {
			u = &url.URL{Scheme: "http", Host: u.Host}
		}
		if err := o.CheckURL(u, o.AllowPrivate); err != nil {
			p.add(n, "%s: %s", key, err)
		}
	}}.document(root)
	return p
}
