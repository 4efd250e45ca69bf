package slack

import (
	"context"
	"encoding/json"
	"net/http"
	"time"
)

// event is what the app hears of: only that it was removed, or its token ended.
type event struct {
	Type      string `json:"type"`
	Challenge string `json:"challenge"`
	TeamID    string `json:"team_id"`
	EventTime int64  `json:"event_time"` // Unix seconds
	Event     struct {
		Type   string `json:"type"`
		Tokens struct {
			Bot []string `json:"bot"`
		} `json:"tokens"`
	} `json:"event"`
}

// events serves Slack's Events API.
func (a *App) events(w http.ResponseWriter, r *http.Request, body []byte) {
	var e event
	if err := json.Unmarshal(body, &e); err != nil {
		http.Error(w, "the event cannot be read", http.StatusBadRequest)
		return
	}
	switch e.Type {
	case "url_verification":
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		_, _ = w.Write([]byte(e.Challenge)) // Slack may be gone
	case "event_callback":
		ended := e.Event.Type == "app_uninstalled" || e.Event.Type == "tokens_revoked" && len(e.Event.Tokens.Bot) > 0
		if ended && e.TeamID != "" {
			if err := a.revokeTeam(r.Context(), e); err != nil {
				a.o.Logger.ErrorContext(r.Context(), "slack: a removed app could not be noted", "team", e.TeamID, "error", err)
				http.Error(w, "try again in a moment", http.StatusServiceUnavailable) // Slack sends it again
				return
			}
		}
		answerNow(w)
	default:
		answerNow(w)
	}
}

// revokeTeam notes that the workspace removed the app. An event that comes late does not end what was installed since.
func (a *App) revokeTeam(ctx context.Context, e event) error {
	ctx, cancel := context.WithTimeout(ctx, seenWait)
	defer cancel()
	before := a.o.Clock()
	if e.EventTime > 0 {
		before = time.Unix(e.EventTime+1, 0)
	}
	n, err := a.o.Workspaces.RevokeSlackTeam(ctx, e.TeamID, before, e.Event.Type)
	if err != nil {
		return err
	}
	a.metrics.revoked.Add(float64(n))
	if n > 0 {
		a.o.Logger.WarnContext(ctx, "slack: a workspace removed the app", "team", e.TeamID, "organisations", n)
	}
	return nil
}
