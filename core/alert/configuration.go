package alert

import "time"

// Configuration is how an organisation's alerts are routed, as somebody wrote it.
type Configuration struct {
	YAML      string            // Alertmanager's, with receivers of ours
	Templates map[string]string // by the names that the YAML has for them
	Version   int64             // rises with every change; 0: nobody has put one
	UpdatedAt time.Time         // zero: nobody has put one
	Default   bool              // it is the one that counts where nobody has put one
}
