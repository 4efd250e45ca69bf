package api

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tokiflow/tokiflow/core/fault"
	"github.com/tokiflow/tokiflow/core/recipient"
	"github.com/tokiflow/tokiflow/core/tenant"
)

// Recipients reads and changes the addresses that alerts are mailed to.
type Recipients interface {
	Recipient(ctx context.Context, org tenant.OrgID, address string) (recipient.Recipient, error)
	Recipients(ctx context.Context, org tenant.OrgID) ([]recipient.Recipient, error)
	PutRecipient(ctx context.Context, org tenant.OrgID, address string, p recipient.Preferences, at time.Time) (created bool, err error)
	DeleteRecipient(ctx context.Context, org tenant.OrgID, address string, at time.Time) error
	// WantAsk has a verification mail sent; notBefore is not zero where it is too soon for another.
	WantAsk(ctx context.Context, org tenant.OrgID, address string, at time.Time) (notBefore time.Time, err error)
}

func (a *API) recipientOperations(h huma.API) {
	tags := []string{"Recipients"}
	const path = "/api/v1/recipients/{address}"
	operation(a, h, huma.Operation{
		OperationID: "list-recipients", Method: http.MethodGet, Path: "/api/v1/recipients", Tags: tags,
		Summary: "List recipients", Description: "The addresses that alerts are mailed to, each with whether it is verified and what it wants.",
	}, tenant.ScopeRead, a.listRecipients)
	operation(a, h, huma.Operation{
		OperationID: "get-recipient", Method: http.MethodGet, Path: path, Tags: tags, Summary: "Read a recipient",
	}, tenant.ScopeRead, a.getRecipient)
	operation(a, h, huma.Operation{
		OperationID: "put-recipient", Method: http.MethodPut, Path: path, Tags: tags,
		Summary: "Write what a recipient wants",
		Description: "Which kinds of alerts, at which hours, one by one or collected. Replaced as a whole: what is left out is as by default. " +
			"An address that is not known is made, and sent a mail by which it is verified. An address hears of alerts when the alerting configuration names it.",
		Responses: map[string]*huma.Response{"201": {Description: "Created", Content: map[string]*huma.MediaType{
			"application/json": {Schema: &huma.Schema{Ref: "#/components/schemas/Recipient"}},
		}}},
	}, tenant.ScopeWrite, a.putRecipient)
	operation(a, h, huma.Operation{
		OperationID: "delete-recipient", Method: http.MethodDelete, Path: path, Tags: tags,
		Summary: "Delete a recipient",
		Description: "What it wants, that it was verified, and what is held for it is forgotten. That it unsubscribed is not, nor when it was asked. " +
			"An alerting configuration that names it makes it anew.",
		DefaultStatus: http.StatusNoContent,
	}, tenant.ScopeWrite, a.deleteRecipient)
	operation(a, h, huma.Operation{
		OperationID: "verify-recipient", Method: http.MethodPost, Path: path + "/verify", Tags: tags,
		Summary: "Send a verification mail again",
		Description: "With a new link; the one before works no more. Ten minutes after the last at the earliest, then twenty, and so on, a day at most: " +
			"before that the answer is 429. Whoever has unsubscribed may be asked, and is subscribed again by the link only.",
		DefaultStatus: http.StatusAccepted, Errors: []int{http.StatusConflict, http.StatusTooManyRequests},
	}, tenant.ScopeWrite, a.verifyRecipient)
}

// recipientHours are when a recipient may be told.
type recipientHours struct {
	Days []string `json:"days,omitempty" maxItems:"7" nullable:"false" doc:"mon, tue, wed, thu, fri, sat, sun; left out: every day. Of a range past midnight the day on which it starts." example:"[\"mon\",\"tue\"]"`
	From string   `json:"from" maxLength:"5" doc:"Local time." example:"09:00"`
	To   string   `json:"to" maxLength:"5" doc:"Local time, itself not in it; 24:00 is the end of the day. At or before from: on the next day." example:"17:30"`
}

// recipientFields are what a recipient wants.
type recipientFields struct {
	Kinds    []string         `json:"kinds,omitempty" maxItems:"6" nullable:"false" doc:"missed, late, fail, overrun, anomaly, other (alerts of rules, and those that were posted). Left out: all."`
	Hours    []recipientHours `json:"hours,omitempty" maxItems:"50" nullable:"false" doc:"When it may be told; what comes outside is held until they begin. Left out: always."`
	Zone     string           `json:"zone,omitempty" maxLength:"100" doc:"Of hours, the digest and the times in messages; UTC where left out." example:"Europe/Berlin"`
	Digest   string           `json:"digest,omitempty" enum:"immediately,hourly,daily" default:"immediately" doc:"hourly: at the full hour; daily: at digest_at."`
	DigestAt string           `json:"digest_at,omitempty" maxLength:"5" doc:"Local time of a daily digest; 08:00 where left out." example:"08:00"`
	Critical string           `json:"critical,omitempty" enum:"now,held" default:"now" doc:"Alerts of severity critical are told at once, whatever hours and digest say (now), or are held like others (held)."`
}

// recipientView is a recipient in an answer.
type recipientView struct {
	Address        string           `json:"address"`
	Status         string           `json:"status" enum:"unverified,verified,unsubscribed" doc:"Only who is verified is told; with --trust-recipients also who is not."`
	CreatedAt      time.Time        `json:"created_at"`
	VerifiedAt     *time.Time       `json:"verified_at"`
	UnsubscribedAt *time.Time       `json:"unsubscribed_at"`
	AskedAt        *time.Time       `json:"asked_at" doc:"When the last verification mail was sent."`
	Receiver       string           `json:"receiver" doc:"Which receiver of the alerting configuration told it something last, or would have. Empty: none has."`
	Held           int              `json:"held" doc:"Groups of alerts kept for it: until it is verified (24 hours at most), its hours begin, its digest is due, or a server takes the mail."`
	LastError      string           `json:"last_error" doc:"Why the last mail to it that was held or asked it could not be sent. Empty: it was."`
	LastErrorAt    *time.Time       `json:"last_error_at"`
	Kinds          []string         `json:"kinds" nullable:"false" doc:"None: all."`
	Hours          []recipientHours `json:"hours" nullable:"false" doc:"None: always."`
	Zone           string           `json:"zone"`
	Digest         string           `json:"digest" enum:"immediately,hourly,daily"`
	DigestAt       string           `json:"digest_at" doc:"Empty: the digest is not daily."`
	Critical       string           `json:"critical" enum:"now,held"`
}

func viewRecipient(r recipient.Recipient) recipientView {
	p := r.Preferences.Normalise()
	v := recipientView{
		Address: r.Address, Status: "unverified", CreatedAt: r.CreatedAt, VerifiedAt: orNull(r.VerifiedAt), UnsubscribedAt: orNull(r.UnsubscribedAt),
		AskedAt: orNull(r.AskedAt), Receiver: r.Via.Receiver, Held: r.Held, LastError: r.Error, LastErrorAt: orNull(r.ErrorAt),
		Kinds: append([]string{}, p.Kinds...), Hours: make([]recipientHours, len(p.Hours)), Zone: p.Zone, Digest: string(p.Digest),
		DigestAt: p.DigestAt, Critical: string(p.Critical),
	}
	switch {
	case !r.UnsubscribedAt.IsZero():
		v.Status = "unsubscribed"
	case !r.VerifiedAt.IsZero():
		v.Status = "verified"
	}
	for i, h := range p.Hours {
		v.Hours[i] = recipientHours(h)
	}
	return v
}

// RecipientPath is the part of a path that names a recipient.
type RecipientPath struct {
	Address string `path:"address" maxLength:"800" doc:"The address, as team@example.com; case does not count."`
}

// key is the address as it is stored, unless it is none.
func (p RecipientPath) key() (string, error) {
	address, err := url.PathUnescape(p.Address)
	if err != nil {
		address = p.Address
	}
	return recipient.Key(address)
}

// known is the key, unless no recipient can have it.
func (p RecipientPath) known() (string, error) {
	key, err := p.key()
	if err != nil {
		return "", fault.New(fault.NotFound, "there is no such thing")
	}
	return key, nil
}

type oneRecipient struct {
	Status int
	Body   recipientView
}

func (a *API) listRecipients(ctx context.Context, who tenant.Identity, _ *struct{}) (*list[recipientView], error) {
	all, err := a.store.Recipients(ctx, who.Org)
	if err != nil {
		return nil, err
	}
	out := &list[recipientView]{Body: listBody[recipientView]{Items: make([]recipientView, len(all))}}
	for i, r := range all {
		out.Body.Items[i] = viewRecipient(r)
	}
	return out, nil
}

func (a *API) getRecipient(ctx context.Context, who tenant.Identity, in *RecipientPath) (*oneRecipient, error) {
	key, err := in.known()
	if err != nil {
		return nil, err
	}
	r, err := a.store.Recipient(ctx, who.Org, key)
	if err != nil {
		return nil, err
	}
	return &oneRecipient{Status: http.StatusOK, Body: viewRecipient(r)}, nil
}

type putRecipientInput struct {
	RecipientPath
	Body recipientFields
}

func (a *API) putRecipient(ctx context.Context, who tenant.Identity, in *putRecipientInput) (*oneRecipient, error) {
	var v violations
	key, err := in.key()
	if err != nil {
		v.add("path.address", err.Error(), in.Address)
	}
	p := recipient.Preferences{
		Kinds: in.Body.Kinds, Zone: in.Body.Zone, Digest: recipient.Digest(in.Body.Digest), DigestAt: in.Body.DigestAt, Critical: recipient.Rank(in.Body.Critical),
	}
	for _, h := range in.Body.Hours {
		p.Hours = append(p.Hours, recipient.Hours(h))
	}
	p = p.Normalise()
	for _, f := range p.Validate() {
		v.add("body."+f.Field, f.Message, nil)
	}
	if err := v.err(); err != nil {
		return nil, err
	}
	created, err := a.store.PutRecipient(ctx, who.Org, key, p, a.now())
	if err != nil {
		return nil, err
	}
	out, err := a.getRecipient(ctx, who, &RecipientPath{Address: key})
	if err == nil && created {
		out.Status = http.StatusCreated
	}
	return out, err
}

func (a *API) deleteRecipient(ctx context.Context, who tenant.Identity, in *RecipientPath) (*struct{}, error) {
	key, err := in.known()
	if err != nil {
		return nil, err
	}
	return nil, a.store.DeleteRecipient(ctx, who.Org, key, a.now())
}

func (a *API) verifyRecipient(ctx context.Context, who tenant.Identity, in *RecipientPath) (*struct{}, error) {
	key, err := in.known()
	if err != nil {
		return nil, err
	}
	now := a.now()
	notBefore, err := a.store.WantAsk(ctx, who.Org, key, now)
	if err != nil {
		return nil, err
	}
	if notBefore.IsZero() {
		return nil, nil
	}
	wait := max(1, int(notBefore.Sub(now).Seconds()+1))
	return nil, huma.ErrorWithHeaders(huma.Error429TooManyRequests(
		fmt.Sprintf("a verification mail was sent a short while ago: the next may be sent at %s", notBefore.UTC().Format(time.RFC3339))), http.Header{"Retry-After": {strconv.Itoa(wait)}})
}
