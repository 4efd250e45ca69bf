// Package fault is the error whose cause the caller's side may be told: it has a code, by which a program decides, and a
// message that is safe to show to a person outside. Any other error is ours, and its text stays in our log.
package fault

import "errors"

// Code is what kind of fault it is.
type Code string

// The codes in use.
const (
	NotFound        Code = "not_found"       // there is no such thing, or it belongs to another organisation
	Conflict        Code = "conflict"        // it is there already, or has changed meanwhile
	Ambiguous       Code = "ambiguous"       // several things go by that name
	Unauthenticated Code = "unauthenticated" // the key is missing, unknown or revoked
	Forbidden       Code = "forbidden"       // the key lacks a scope
	Invalid         Code = "invalid"         // what was sent cannot be accepted
	Unavailable     Code = "unavailable"     // something it needs cannot be reached; trying again later may help
)

// Error is a fault that may be told.
type Error struct {
	Code    Code
	Message string // one plain sentence, no secrets
	Err     error  // the cause, for the log only; may be nil
}

// New makes an error without a cause.
func New(code Code, message string) *Error { return &Error{Code: code, Message: message} }

// Error is the message, and the cause where there is one: it is for the log.
func (e *Error) Error() string {
	if e.Err != nil {
		return e.Message + ": " + e.Err.Error()
	}
	return e.Message
}

// Unwrap is the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is matches every fault of the same code and message, so that a sentinel matches its copies with a cause.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code && t.Message == e.Message
}

// CodeOf is the code of the first fault in err's chain; "" where there is none.
func CodeOf(err error) Code {
	if f, ok := errors.AsType[*Error](err); ok {
		return f.Code
	}
	return ""
}

// MessageOf is the message of the first fault in err's chain; "" where there is none.
func MessageOf(err error) string {
	if f, ok := errors.AsType[*Error](err); ok {
		return f.Message
	}
	return ""
}
