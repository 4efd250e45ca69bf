package instance

import (
	"context"
	"log/slog"
)

// lowered logs nothing above a level: what Alertmanager logs as an error is, seen from here, the mistake of who asked, or of a receiver
// that somebody else runs.
type lowered struct {
	slog.Handler
	to slog.Level
}

// quiet returns a logger for what only somebody who looks for it wants to see.
func quiet(l *slog.Logger) *slog.Logger { return slog.New(lowered{l.Handler(), slog.LevelDebug}) }

// calm returns a logger without errors.
func calm(l *slog.Logger) *slog.Logger { return slog.New(lowered{l.Handler(), slog.LevelWarn}) }

// Enabled implements slog.Handler.
func (h lowered) Enabled(ctx context.Context, level slog.Level) bool {
	return h.Handler.Enabled(ctx, min(level, h.to))
}

// Handle implements slog.Handler.
func (h lowered) Handle(ctx context.Context, r slog.Record) error {
	r.Level = min(r.Level, h.to)
	return h.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h lowered) WithAttrs(attrs []slog.Attr) slog.Handler {
	return lowered{h.Handler.WithAttrs(attrs), h.to}
}

// WithGroup implements slog.Handler.
func (h lowered) WithGroup(name string) slog.Handler {
	return lowered{h.Handler.WithGroup(name), h.to}
}
