package slack

import (
	"bytes"
	"html/template"
	"net/http"

	"github.com/tokiflow/tokiflow/core/fault"
)

// pageData is what a person who installs the app is shown.
type pageData struct {
	Title, Text    string
	Link, LinkText string // Link empty: none
}

const pageText = `<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>{{.Title}} · Tokiflow</title>
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:34em;margin:4em auto;padding:0 1em}a{font-weight:600}</style></head>
<body><h1>{{.Title}}</h1><p>{{.Text}}</p>{{if .Link}}<p><a href="{{.Link}}">{{.LinkText}}</a></p>{{end}}</body>
</html>
`

// page answers with a page. Everything in it is escaped.
func (a *App) page(w http.ResponseWriter, status int, d pageData) {
	t, err := template.New("page").Parse(pageText)
	var b bytes.Buffer
	if err == nil {
		err = t.Execute(&b, d)
	}
	if err != nil {
		a.o.Logger.Error("slack: a page could not be made", "error", err)
		http.Error(w, "something went wrong on our side", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer") // the address has a state or a code in it
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // the browser may be gone
}

// sorry answers a person for whom it did not work.
func (a *App) sorry(w http.ResponseWriter, r *http.Request, err error) {
	status, text := http.StatusInternalServerError, "Something went wrong on our side; it is in the server's log."
	switch fault.CodeOf(err) {
	case fault.Unauthenticated:
		status, text = http.StatusUnauthorized, fault.MessageOf(err)
	case fault.Forbidden:
		status, text = http.StatusForbidden, fault.MessageOf(err)
	case fault.Unavailable:
		status, text = http.StatusServiceUnavailable, fault.MessageOf(err)
	case fault.Invalid, fault.NotFound, fault.Conflict, fault.Ambiguous:
		status, text = http.StatusBadRequest, fault.MessageOf(err)
	}
	if status >= http.StatusInternalServerError {
		a.o.Logger.ErrorContext(r.Context(), "slack: an installation failed", "error", err)
	} else {
		a.o.Logger.InfoContext(r.Context(), "slack: an installation did not go on", "error", err)
	}
	a.page(w, status, pageData{Title: "Slack is not connected", Text: text})
}
