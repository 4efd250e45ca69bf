package config

import (
	"cmp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// InstallationHost is the host of the smarthost that an entry of email_configs gets where nobody wrote one: its mails go by the
// installation's own sender. The name resolves to nothing anywhere (RFC 2606).
const InstallationHost = "installation.invalid"

// InstallationFrom is what such an entry gets for `from`: the installation's own address.
const InstallationFrom = "installation@" + InstallationHost

// installationSends names the installation in the entries of email_configs that have no server, and in those of global neither:
// Alertmanager takes none without. An entry with a login keeps its mistake: whoever wrote one meant a server.
func installationSends(root *yaml.Node) {
	global := field(root, "global")
	for _, receiver := range items(root, "receivers") {
		for _, entry := range items(receiver, "email_configs") {
			if entry.Kind != yaml.MappingNode {
				continue
			}
			server := cmp.Or(text(entry, "smarthost"), text(global, "smtp_smarthost"))
			if nothing(entry, "smarthost") && nothing(global, "smtp_smarthost") && !hasKeys(entry, "auth_") && !hasKeys(global, "smtp_auth_") {
				server = InstallationHost + ":25"
				set(entry, "smarthost", server)
			}
			if strings.HasPrefix(server, InstallationHost+":") && nothing(entry, "from") && nothing(global, "smtp_from") {
				set(entry, "from", InstallationFrom)
			}
		}
	}
}

// nothing reports whether a mapping has no value under the key, or an empty one.
func nothing(n *yaml.Node, key string) bool {
	v := field(n, key)
	return isNull(v) || v.Kind == yaml.ScalarNode && v.Value == ""
}

// hasKeys reports whether a mapping has values under keys that begin so.
func hasKeys(n *yaml.Node, prefix string) bool {
	for i := 0; n != nil && n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
		if key := n.Content[i].Value; strings.HasPrefix(key, prefix) && !nothing(n, key) {
			return true
		}
	}
	return false
}

// set gives a key of a mapping the value, whatever stood there.
func set(n *yaml.Node, key, value string) {
	n.Content = append(without(n, key).Content, scalar(key), scalar(value))
}
