package api

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/history"
)

// Paging are the parameters of every list.
type Paging struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"Items an answer has at most."`
	Cursor string `query:"cursor" maxLength:"1000" doc:"next_cursor of the answer before; keep the other parameters as they were."`
}

// list is the answer of every list.
type list[T any] struct {
	Body listBody[T]
}

type listBody[T any] struct {
	Items      []T    `json:"items" nullable:"false"`
	NextCursor string `json:"next_cursor" doc:"Empty: this was the last page."`
}

// cursor is the place behind the last item of a page. It is sent as the base64url form of its JSON; Of names the list, so
// that one list's cursor is not taken by another.
type cursor struct {
	Of  string    `json:"of"`
	ID  uuid.UUID `json:"id,omitzero"`
	At  time.Time `json:"at,omitzero"`
	Tie string    `json:"tie,omitempty"`
}

func (c cursor) encode() (string, error) {
	b, err := json.Marshal(c)
	return base64.RawURLEncoding.EncodeToString(b), err
}

// decodeCursor reads a cursor of the list named; an empty text is the zero cursor, the beginning.
func decodeCursor(of, text string) (cursor, error) {
	if text == "" {
		return cursor{}, nil
	}
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return cursor{}, errCursor("is not one of ours")
	}
	var c cursor
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil || d.More() {
		return cursor{}, errCursor("is not one of ours")
	}
	if c.Of != of {
		return cursor{}, errCursor("belongs to another list")
	}
	if y := c.At.UTC().Year(); y < 1 || y > 9999 {
		return cursor{}, errCursor("is not one of ours")
	}
	return c, nil
}

func errCursor(reason string) error {
	return huma.NewError(http.StatusUnprocessableEntity, "validation failed",
		&huma.ErrorDetail{Location: "query.cursor", Message: reason + "; pass next_cursor of the same list, or none to begin anew"})
}

// page makes the answer of at most limit rows, of which limit+1 were asked for: one more says that there is a next page.
func page[R, T any](rows []R, limit int, view func(R) T, place func(R) cursor) (*list[T], error) {
	out := &list[T]{Body: listBody[T]{Items: make([]T, 0, min(len(rows), limit))}}
	for i, r := range rows {
		if i == limit {
			next, err := place(rows[limit-1]).encode()
			out.Body.NextCursor = next
			return out, err
		}
		out.Body.Items = append(out.Body.Items, view(r))
	}
	return out, nil
}

// Span are the parameters of what is limited in time.
type Span struct {
	From instant `query:"from" format:"date-time" doc:"RFC 3339; from this instant on." example:"2026-01-01T00:00:00Z"`
	To   instant `query:"to" format:"date-time" doc:"RFC 3339; before this instant." example:"2026-02-01T00:00:00Z"`
}

// window is the Span with the given bounds where it has none.
func (s Span) window(from, to time.Time) (history.Window, error) {
	w := history.Window{From: s.From.or(from), To: s.To.or(to)}
	if !w.From.Before(w.To) {
		return w, huma.NewError(http.StatusUnprocessableEntity, "validation failed",
			&huma.ErrorDetail{Location: "query.from", Message: "must be before to"})
	}
	return w, nil
}

// allTime bounds lists that are not limited in time: what PostgreSQL and RFC 3339 can both say.
func allTime() (from, to time.Time) {
	return time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)
}

// optionalID is a UUID in a query that may be missing.
type optionalID struct{ id *uuid.UUID }

// UnmarshalText reads a UUID.
func (o *optionalID) UnmarshalText(text []byte) error {
	id, err := uuid.ParseBytes(text)
	if err != nil {
		return errors.New("expected a UUID")
	}
	o.id = &id
	return nil
}

// instant is a time in a query that may be missing.
type instant struct{ at *time.Time }

// UnmarshalText reads RFC 3339.
func (i *instant) UnmarshalText(text []byte) error {
	t, err := time.Parse(time.RFC3339Nano, string(text))
	if y := t.UTC().Year(); err != nil || y < 1 || y > 9999 {
		return errors.New("expected a time such as 2026-01-01T00:00:00Z (in a URL, + is written %2B)")
	}
	t = t.UTC()
	i.at = &t
	return nil
}

func (i instant) or(otherwise time.Time) time.Time {
	if i.at == nil {
		return otherwise
	}
	return *i.at
}
