package promapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"

	"github.com/prometheus/prometheus/promql"

	"github.com/tokiflow/tokiflow/core/fault"
)

// The types of errors as Prometheus has them, and two for keys, which it does not have.
const (
	errBadData      = "bad_data"
	errExecution    = "execution"
	errCanceled     = "canceled"
	errTimeout      = "timeout"
	errInternal     = "internal"
	errUnavailable  = "unavailable"
	errNotFound     = "not_found"
	errUnauthorized = "unauthorized"
	errForbidden    = "forbidden"
)

// apiError is an answer in Prometheus' error form.
type apiError struct {
	kind    string
	message string
	cause   error // for the log, where the message does not say it
}

// Error is what went wrong, the hidden cause included.
func (e *apiError) Error() string {
	if e.cause != nil {
		return e.message + ": " + e.cause.Error()
	}
	return e.message
}

// Unwrap is the cause.
func (e *apiError) Unwrap() error { return e.cause }

func (e *apiError) status() int {
	switch e.kind {
	case errBadData:
		return http.StatusBadRequest
	case errExecution:
		return http.StatusUnprocessableEntity
	case errCanceled, errTimeout, errUnavailable:
		return http.StatusServiceUnavailable
	case errNotFound:
		return http.StatusNotFound
	case errUnauthorized:
		return http.StatusUnauthorized
	case errForbidden:
		return http.StatusForbidden
	}
	return http.StatusInternalServerError
}

func badData(err error) *apiError { return &apiError{kind: errBadData, message: err.Error()} }

// badParameter is Prometheus' sentence about a parameter.
func badParameter(name string, err error) *apiError {
	return badData(fmt.Errorf("invalid parameter %q: %w", name, err))
}

// limitError says which limit a query met, and what to do.
type limitError struct{ message string }

// Error is the message.
func (e *limitError) Error() string { return e.message }

// storageError is a failure of ours while reading. It says what may be told: what is behind it has been logged.
type storageError struct{ err error }

// Error is what may be told.
func (e *storageError) Error() string {
	if m := fault.MessageOf(e.err); m != "" {
		return m
	}
	return "the series could not be read: try again, and if it stays, see the log of Tokiflow"
}

// Unwrap is the cause.
func (e *storageError) Unwrap() error { return e.err }

// failed tells an error of reading from those of the query itself: limits, and the end of its time. It logs it, since the
// engine passes on no more than a text, which a customer may see.
func (a *API) failed(ctx context.Context, doing string, err error) error {
	if errors.Is(err, errEnough) {
		return errEnough
	}
	if e, ok := errors.AsType[*limitError](err); ok {
		return e // alone: whoever was stopped by it may have added that it was stopped
	}
	if err == nil || isContext(err) {
		return err
	}
	if _, ok := errors.AsType[*storageError](err); ok {
		return err
	}
	if a.limited != nil && a.limited(err) {
		return &limitError{err.Error()}
	}
	a.logger.LogAttrs(ctx, slog.LevelError, "series could not be read", slog.String("while", doing), slog.Any("error", err))
	return &storageError{err}
}

func isContext(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// refusal is the answer to whom the key does not let in.
func refusal(err error) *apiError {
	switch fault.CodeOf(err) {
	case fault.Unauthenticated:
		return &apiError{kind: errUnauthorized, message: fault.MessageOf(err)}
	case fault.Forbidden:
		return &apiError{kind: errForbidden, message: fault.MessageOf(err)}
	default:
		return &apiError{kind: errUnavailable, message: "the API key could not be checked: try again in a moment", cause: err}
	}
}

// answerTo is what a failed query is answered with.
func (a *API) answerTo(err error) *apiError {
	if e, ok := errors.AsType[*apiError](err); ok {
		return e
	}
	if e, ok := errors.AsType[*storageError](err); ok {
		if fault.CodeOf(e.err) == fault.Unavailable {
			return &apiError{kind: errUnavailable, message: e.Error()}
		}
		return &apiError{kind: errInternal, message: e.Error()}
	}
	if e, ok := errors.AsType[*limitError](err); ok {
		return &apiError{kind: errExecution, message: e.message}
	}
	if e, ok := errors.AsType[promql.ErrTooManySamples](err); ok {
		return &apiError{kind: errExecution, message: fmt.Sprintf(
			"%s: the limit is %d: shorten the time range, widen the step, or select fewer series", e.Error(), a.limits.MaxSamples)}
	}
	if _, ok := errors.AsType[promql.ErrQueryTimeout](err); ok || errors.Is(err, context.DeadlineExceeded) {
		return &apiError{kind: errTimeout, message: fmt.Sprintf(
			"%s: the limit is %s, or the parameter timeout: shorten the time range, widen the step, or select fewer series", err, a.limits.Timeout)}
	}
	if _, ok := errors.AsType[promql.ErrQueryCanceled](err); ok || errors.Is(err, context.Canceled) {
		return &apiError{kind: errCanceled, message: err.Error()}
	}
	return &apiError{kind: errExecution, message: err.Error()}
}
