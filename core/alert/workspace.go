package alert

import (
	"time"

	"github.com/tokiflow/tokiflow/core/tenant"
)

// Workspace is the Slack workspace that an organisation's alerts go to. An organisation has one; a workspace may serve several.
type Workspace struct {
	Org           tenant.OrgID
	TeamID        string // Slack's, as T024BE7LD
	TeamName      string
	AppID         string
	BotUserID     string
	Scopes        []string // granted to the bot
	Channel       string   // chosen when it was installed, as #ops; "": none
	ChannelID     string
	Sealed        []byte // the bot's token; opens with About
	InstalledBy   string // Slack's id of the person
	InstalledAt   time.Time
	RevokedAt     time.Time // zero: it works, as far as is known
	RevokedReason string    // Slack's code, as token_revoked
}

// Revoked reports whether Slack refuses the workspace's token.
func (w Workspace) Revoked() bool { return !w.RevokedAt.IsZero() }

// About is what the workspace's token is sealed with: a token moved to another organisation or workspace does not open.
func (w Workspace) About() []byte {
	return append(append([]byte("slack workspace\x00"), w.Org.UUID[:]...), w.TeamID...)
}
