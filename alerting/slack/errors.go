package slack

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/prometheus/alertmanager/notify"
	"github.com/slack-go/slack"

	"github.com/tokiflow/tokiflow/core/fault"
)

// verdict is what follows from an error of Slack's.
type verdict int

const (
	refused verdict = iota // it will not be otherwise next time
	again                  // later it may go well
	revoked                // the token is of no use any more
	nowhere                // the channel is not there, or not for the app
	gone                   // the message, or its thread, is not there any more
	content                // Slack does not like what the message looks like
	twice                  // the message's id was used for one that is gone
)

// verdictOf says what an error code of Slack's means for a message. Codes that are not known are refused.
func verdictOf(code string) verdict {
	switch code {
	case "ratelimited", "rate_limited", "fatal_error", "internal_error", "service_unavailable", "request_timeout", "message_limit_exceeded",
		"team_added_to_org", "org_login_required", "external_channel_migrating":
		return again
	case "token_revoked", "token_expired", "account_inactive", "invalid_auth":
		return revoked
	case "channel_not_found", "not_in_channel", "is_archived":
		return nowhere
	case "message_not_found", "cant_update_message", "edit_window_closed", "thread_not_found", "is_inactive", "cannot_reply_to_message":
		return gone
	case "invalid_blocks", "invalid_blocks_format", "invalid_attachments", "too_many_attachments", "attachment_payload_limit_exceeded",
		"msg_blocks_too_long", "msg_too_long", "no_text", "block_mismatch", "too_many_contact_cards":
		return content
	case "duplicate_message_not_found", "duplicate_channel_not_found":
		return twice
	}
	return refused
}

// callError is a call of Slack's API that did not go well. Its text has no secrets.
type callError struct {
	method string
	status int           // HTTP; 0: no answer, or 200
	code   string        // Slack's; "": none
	needed string        // the scope that is missing
	after  time.Duration // Slack asked to be left alone for as long
	err    error         // no answer
}

func (e *callError) Error() string {
	switch {
	case e.code == "missing_scope" && e.needed != "":
		return fmt.Sprintf("slack refused %s: the app lacks the scope %s: install it again", e.method, e.needed)
	case e.code != "":
		return fmt.Sprintf("slack refused %s: %s", e.method, e.code)
	case e.after > 0:
		return fmt.Sprintf("slack asks to wait %s before the next %s", e.after.Round(time.Second), e.method)
	case e.status != 0:
		return fmt.Sprintf("slack answered %s with status %d", e.method, e.status)
	}
	return fmt.Sprintf("slack cannot be reached with %s: %v", e.method, e.err)
}

func (e *callError) Unwrap() error { return e.err }

func (e *callError) verdict() verdict {
	switch {
	case e.code != "":
		return verdictOf(e.code)
	case e.after > 0, e.status == 0, e.status == http.StatusTooManyRequests, e.status >= 500:
		return again
	}
	return refused
}

// StatusCode is the HTTP status of Slack's answer; 0: there was none.
func (e *callError) StatusCode() int {
	if e.status == 0 && e.code != "" {
		return http.StatusOK
	}
	return e.status
}

// RetryAfter is how long Slack asked to be left alone; 0: it did not.
func (e *callError) RetryAfter() time.Duration { return e.after }

// asCallError makes whatever the client returned an error of ours.
func asCallError(method string, err error) error {
	if err == nil {
		return nil
	}
	if own, ok := errors.AsType[*callError](err); ok {
		return own
	}
	if answered, ok := errors.AsType[slack.SlackErrorResponse](err); ok {
		return &callError{method: method, code: answered.Err, needed: answered.Needed}
	}
	if status, ok := errors.AsType[slack.StatusCodeError](err); ok {
		return &callError{method: method, status: status.Code}
	}
	return &callError{method: method, err: err} // an answer that cannot be read, or none
}

// verdictIn is the verdict of the call that failed; of any other error it is again: the database, or the context.
func verdictIn(err error) verdict {
	if call, ok := errors.AsType[*callError](err); ok {
		return call.verdict()
	}
	if c := fault.CodeOf(err); c != "" && c != fault.Unavailable {
		return refused
	}
	return again
}

// outcome is what a notifier returns for err: whether to try again, and the error with Alertmanager's reason.
func outcome(err error) (retry bool, _ error) {
	if err == nil {
		return false, nil
	}
	retry = verdictIn(err) == again
	reason := notify.DefaultReason
	if call, ok := errors.AsType[*callError](err); ok {
		switch {
		case call.after > 0 || call.status == http.StatusTooManyRequests || call.code == "ratelimited" || call.code == "rate_limited":
			reason = notify.RateLimitedReason
		case call.status != 0:
			reason = notify.GetFailureReasonFromStatusCode(call.status)
		case call.code != "":
			reason = notify.ClientErrorReason
		}
	}
	return retry, &reasoned{error: err, reason: notify.NewErrorWithReason(reason, err)}
}

// reasoned is an error with Alertmanager's reason, which hides what it is made of.
type reasoned struct {
	error
	reason *notify.ErrorWithReason
}

func (r *reasoned) Unwrap() []error { return []error{r.error, r.reason} }

// aboutChannel says of an error about a channel what to do.
func aboutChannel(channel string, err error) error {
	call, ok := errors.AsType[*callError](err)
	if !ok || call.verdict() != nowhere {
		return err
	}
	what := "is not there, or is private"
	switch call.code {
	case "is_archived":
		what = "is archived"
	case "not_in_channel":
		what = "is closed to the app"
	}
	return fmt.Errorf("the channel %s %s: invite the app there (/invite @Tokiflow) or give another channel: %w", channel, what, err)
}
