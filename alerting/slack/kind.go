package slack

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/tokiflow/tokiflow/alerting/config"
)

// KindName is the name of the integration.
const KindName = "slack_app"

// entry is one entry of slack_app_configs.
type entry struct {
	Channel      string `yaml:"channel"`       // #name or id; "": the one chosen when the app was installed
	SendResolved *bool  `yaml:"send_resolved"` // nil: true; config.Entry says it too
	Mention      string `yaml:"mention"`       // who is called when something begins to fire
}

// Kind is slack_app_configs.
func Kind() config.Kind {
	return config.Kind{
		Name: KindName, Key: KindName + "_configs",
		Check: func(n *yaml.Node, _ bool) error {
			_, err := parseEntry(n)
			return err
		},
	}
}

// parseEntry reads an entry and says what is wrong with it, by key.
func parseEntry(n *yaml.Node) (entry, error) {
	var e entry
	if n == nil || n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		return e, nil
	}
	if n.Kind != yaml.MappingNode {
		return e, errors.New("must be a mapping, as {channel: '#ops'}")
	}
	known := []string{"channel", "send_resolved", "mention"}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if key := n.Content[i].Value; !slices.Contains(known, key) {
			return e, fmt.Errorf("%s: unknown key: there are %s", key, strings.Join(known, ", "))
		}
	}
	if err := n.Decode(&e); err != nil {
		return e, fmt.Errorf("cannot be read: %w", err)
	}
	if !validChannel(e.Channel) {
		return e, errors.New("channel: must be a channel's name with #, as '#ops' (in quotes: # begins a comment), or its id, as C024BE91L")
	}
	if _, err := mentionOf(e.Mention); err != nil {
		return e, err
	}
	return e, nil
}

func validChannel(s string) bool {
	if s == "" {
		return true
	}
	if name, ok := strings.CutPrefix(s, "#"); ok {
		return name != "" && len(name) <= 320 && !strings.ContainsAny(name, " \t\r\n#,<>&@\x00") && len([]rune(name)) <= 80
	}
	return regexp.MustCompile(`^[CGDU][A-Z0-9]{2,30}$`).MatchString(s)
}

// mentionOf makes what a person writes of whom to call what Slack wants: @here, @channel, @everyone, and the ids of people and
// groups of them; several with spaces between.
func mentionOf(s string) (string, error) {
	id := regexp.MustCompile(`^[A-Z][A-Z0-9]{2,30}$`)
	var out []string
	for one := range strings.FieldsSeq(s) {
		name := strings.TrimPrefix(one, "@")
		switch {
		case name == "here" || name == "channel" || name == "everyone":
			out = append(out, "<!"+name+">")
		case id.MatchString(name) && strings.ContainsAny(name[:1], "UW"):
			out = append(out, "<@"+name+">")
		case id.MatchString(name) && name[0] == 'S':
			out = append(out, "<!subteam^"+name+">")
		default:
			return "", errors.New("mention: must be @here, @channel, @everyone, a person's id (U024BE7LH) or a group's (S0614TZR7); Slack calls nobody by a name")
		}
	}
	if len(out) > 10 {
		return "", errors.New("mention: at most 10")
	}
	return strings.Join(out, " "), nil
}
