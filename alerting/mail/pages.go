package mail

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"

	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/fault"
	"github.com/tokiflow/tokiflow/core/tenant"
)

// The paths of the pages.
const (
	verifyPath      = "/api/recipients/verify"
	unsubscribePath = "/api/recipients/unsubscribe"
)

const secretSize = 24

func aboutUnsubscribe() []byte { return []byte("unsubscribe") }

// Routes adds the pages that the links in mails lead to: /api/recipients/verify and /api/recipients/unsubscribe. They need no
// key and no cookie: the token in the link decides. To open a link changes nothing, since programs open links too: it shows a button.
func (m *Mailer) Routes(r Router) {
	r.Get(verifyPath, m.asking(verifyPage()))
	r.Post(verifyPath, m.verify)
	r.Get(unsubscribePath, m.asking(unsubscribePage()))
	r.Post(unsubscribePath, m.unsubscribe)
}

// page is what a page shows.
type page struct {
	Title, Text string
	Button      string // empty: none
	Action      string
	Token       string
}

func verifyPage() page {
	return page{Title: "Alerts by e-mail", Text: "Shall Tokiflow send alerts to your address?", Button: "Yes, send them", Action: verifyPath}
}

func unsubscribePage() page {
	return page{Title: "No more alerts by e-mail", Text: "Shall Tokiflow send no more alerts to your address?", Button: "Yes, no more", Action: unsubscribePath}
}

// asking shows a page with a button, for a token that may be one.
func (m *Mailer) asking(p page) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		p := p
		if p.Token = r.URL.Query().Get("t"); !looksLikeToken(p.Token) {
			m.show(w, r, http.StatusBadRequest, broken())
			return
		}
		m.show(w, r, http.StatusOK, p)
	}
}

func broken() page {
	return page{Title: "This link is not whole", Text: "Copy all of it from the mail: it may have been broken over two lines."}
}

func (m *Mailer) verify(w http.ResponseWriter, r *http.Request) {
	raw, ok := tokenIn(w, r)
	if !ok || len(raw) != 32+secretSize {
		m.show(w, r, http.StatusBadRequest, broken())
		return
	}
	org, id := ids(raw)
	hash := sha256.Sum256(raw[32:])
	who, err := m.o.Store.VerifyRecipient(r.Context(), org, id, hash[:], m.now())
	switch {
	case fault.CodeOf(err) == fault.NotFound:
		m.show(w, r, http.StatusNotFound, page{
			Title: "This link does not work any more",
			Text:  "It was used already, a newer one was sent, or it is older than 7 days. Ask whoever set up the alerts to have another sent.",
		})
	case err != nil:
		m.unavailable(w, r, err)
	default:
		m.nudge()
		m.log.InfoContext(r.Context(), "mail: an address is verified", "org", org.String(), "recipient", who.ID.String())
		m.show(w, r, http.StatusOK, page{Title: "Thank you", Text: "Alerts will be sent to " + who.Address + ". Each mail has a link that ends them."})
	}
}

// unsubscribe is pressed by a person, or by a mail client for one (RFC 8058).
func (m *Mailer) unsubscribe(w http.ResponseWriter, r *http.Request) {
	raw, ok := tokenIn(w, r)
	if !ok {
		m.show(w, r, http.StatusBadRequest, broken())
		return
	}
	plain, err := m.o.Sealer.Open(raw, aboutUnsubscribe())
	if err != nil || len(plain) != 32 {
		m.show(w, r, http.StatusBadRequest, broken())
		return
	}
	org, id := ids(plain)
	held, err := m.o.Store.UnsubscribeRecipient(r.Context(), org, id, m.now())
	if err != nil && fault.CodeOf(err) != fault.NotFound {
		m.unavailable(w, r, err)
		return
	}
	for _, h := range held {
		m.record(r.Context(), org, &h, outcome{failed: errors.New(h.Address + " wants no more mails"), over: true})
	}
	m.log.InfoContext(r.Context(), "mail: an address wants no more", "org", org.String(), "recipient", id.String())
	m.show(w, r, http.StatusOK, page{Title: "Done", Text: "Tokiflow sends no more alerts to your address."})
}

func (m *Mailer) unavailable(w http.ResponseWriter, r *http.Request, err error) {
	m.log.WarnContext(r.Context(), "mail: a page cannot be served", "path", r.URL.Path, "error", err)
	w.Header().Set("Retry-After", "5")
	m.show(w, r, http.StatusServiceUnavailable, page{Title: "Not now", Text: "Something went wrong on our side. Try again in a minute."})
}

// show writes a page that loads nothing, leads nowhere, and is kept by nobody.
func (m *Mailer) show(w http.ResponseWriter, r *http.Request, status int, p page) {
	var b bytes.Buffer
	if err := m.pages.ExecuteTemplate(&b, "page.html", p); err != nil {
		m.log.ErrorContext(r.Context(), "mail: a page cannot be written", "error", err)
		http.Error(w, "something went wrong on our side", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Robots-Tag", "noindex")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // the client may be gone
}

func looksLikeToken(t string) bool {
	if len(t) < 64 || len(t) > 400 {
		return false
	}
	_, err := base64.RawURLEncoding.DecodeString(t)
	return err == nil
}

// tokenIn reads the token of a form, or of the address.
func tokenIn(w http.ResponseWriter, r *http.Request) ([]byte, bool) {
	r.Body = http.MaxBytesReader(w, r.Body, 4<<10)
	t := r.URL.Query().Get("t")
	if err := r.ParseForm(); err == nil && r.PostForm.Get("t") != "" {
		t = r.PostForm.Get("t")
	}
	if !looksLikeToken(t) {
		return nil, false
	}
	raw, err := base64.RawURLEncoding.DecodeString(t)
	return raw, err == nil
}

func ids(raw []byte) (tenant.OrgID, uuid.UUID) {
	return tenant.OrgID{UUID: uuid.UUID(raw[:16])}, uuid.UUID(raw[16:32])
}

func bytesOf(org tenant.OrgID, id uuid.UUID) []byte {
	return append(append(make([]byte, 0, 64), org.UUID[:]...), id[:]...)
}

// unsubscribeURL is the link by which a recipient ends its mails. It is made of nothing that is stored, and works for ever.
func (m *Mailer) unsubscribeURL(org tenant.OrgID, id uuid.UUID) (string, error) {
	sealed, err := m.o.Sealer.Seal(bytesOf(org, id), aboutUnsubscribe())
	if err != nil {
		return "", err
	}
	return m.base.JoinPath(unsubscribePath).String() + "?t=" + encode(sealed), nil
}

// verifyURL is a link by which a recipient is verified, with the hash of its secret.
func (m *Mailer) verifyURL(org tenant.OrgID, id uuid.UUID) (link string, hash []byte, err error) {
	secret := make([]byte, secretSize)
	if _, err := rand.Read(secret); err != nil {
		return "", nil, err
	}
	sum := sha256.Sum256(secret)
	return m.base.JoinPath(verifyPath).String() + "?t=" + encode(append(bytesOf(org, id), secret...)), sum[:], nil
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
