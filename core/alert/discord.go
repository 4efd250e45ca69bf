package alert

import "time"

// DiscordConnection is a channel of Discord that an organisation may post to.
type DiscordConnection struct {
	Name        string // as configurations call it
	WebhookID   string // Discord's, as the next three
	WebhookName string
	ChannelID   string
	GuildID     string
	Sealed      []byte // the webhook's URL
	ConnectedAt time.Time
}

// DiscordState is a connection that was begun in a browser, until Discord sends the browser back.
type DiscordState struct {
	Sum       []byte // SHA-256 of the state that Discord hands back
	Browser   []byte // SHA-256 of what the browser keeps
	Name      string // of the connection to be
	ExpiresAt time.Time
}
