package alert

// Receiver is a receiver of an organisation's configuration, as it can be shown: without its secrets.
type Receiver struct {
	Name         string
	Integrations []Integration
}

// Integration is one entry of a receiver.
type Integration struct {
	Name         string // kind and index, as in Notification.Integration: webhook[0]
	Kind         string // webhook, slack_app, …
	SendResolved bool
}
